"""Packaging; the extras are explained in README.md."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = next(
    line.split('"')[1]
    for line in Path("edge_agent/__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)
TENSORFLOW = [
    "tensorflow-cpu>=2.19,<2.22; platform_machine == 'x86_64'",
    "tensorflow>=2.19,<2.22; platform_machine != 'x86_64'",
]
SIGNING = ["cryptography>=42"]
WEB = ["aiohttp>=3.10,<4"]
SCREEN = ["rich>=13"]
METRICS = ["prometheus_client>=0.20,<1"]
DEMO = ["amqtt==0.12.1"]
PLOT = ["matplotlib>=3.9"]
TRAIN = [
    *PLOT,
    *TENSORFLOW,
    "keras>=3.10,<4",
    "keras-tuner>=1.4.7",
    "tensorboard>=2.19",
    "scikit-learn>=1.5",
]

setup(
    name="edge-agent",
    version=VERSION,
    description="Notices an upset customer through a kiosk camera and pages staff over MQTT",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["edge_agent*", "trainer*", "converter*"]),
    package_data={
        "edge_agent": ["models/*/*", "profiles/*.yaml", "py.typed"],
        "edge_agent.delivery": ["schemas/*.json"],
        "edge_agent.demo": ["clips/*"],
        "edge_agent.vision": ["*.schema.json"],
        "edge_agent.web": ["static/*"],
    },
    install_requires=[
        "ai-edge-litert>=2.1",
        "numpy>=1.26",
        # 5.0 has no cascades and is not tested; the last release that works with numpy 1 is 4.11.
        "opencv-python-headless>=4.10,<5",
        "paho-mqtt>=2.2,<3",
        "PyYAML>=6.0",
    ],
    extras_require={
        "demo": DEMO,
        "train": TRAIN,
        "signing": SIGNING,
        "web": WEB,
        "metrics": METRICS,
        "screen": SCREEN,
        "plot": PLOT,
        # tflite-runtime 2.14, its last release, breaks on numpy 2 although its metadata allows it.
        "tflite-runtime": [
            "tflite-runtime==2.14.0; python_version < '3.12'",
            "numpy<2",
            "opencv-python-headless==4.11.0.86",
        ],
        "test": [
            *DEMO,
            *SIGNING,
            *TRAIN,
            *WEB,
            *METRICS,
            *SCREEN,
            "axe-playwright-python>=0.1.4",
            "jsonschema>=4.20",
            "mypy>=1.15",
            "pillow>=10",
            "playwright>=1.50",
            "pytest>=8",
            "pytest-benchmark>=5",
            "pytest-randomly>=3.15",
            "pytest-xdist>=3.6",
            "ruff>=0.9",
            "scikit-image>=0.22",
            "types-PyYAML",
        ],
    },
    entry_points={"console_scripts": ["edge-agent=edge_agent.cli:main"]},
)
