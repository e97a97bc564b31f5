# What config.yaml names where it is installed: places that commands run beside the service see as well.
s|^  state_dir: state |  state_dir: /var/lib/edge-agent |
s|^  password_file: null |  password_file: /etc/edge-agent/mqtt-password |
