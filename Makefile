# `make demo` and `make test` do all of their own set-up; the second time it costs a second.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
APT := python3 python3-venv gcc libc6-dev make gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Where a system ROS 2 is sourced, it is the one to use: no ros-* wheel goes over it.
EXTRAS := train,test$(if $(ROS_DISTRO),,$(comma)ros)
comma := ,

.PHONY: demo test lint setup clean

demo: setup
	$(BIN)/softctl demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

setup: $(VENV)/.ready

$(VENV)/.ready: setup.py pyproject.toml Makefile
	@missing=""; for p in $(APT); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing Debian packages:$$missing"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build models runs data *.egg-info
