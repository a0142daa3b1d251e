# `make demo` and `make test` do all of their own set-up; the second time it costs a second.
SHELL := /bin/bash
VENV := .venv
comma := ,
BIN := $(VENV)/bin
APT := python3 python3-venv gcc g++ libc6-dev make cmake gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
# For the tests alone: the monitor's page in a browser, and a DDS that has security.
APT_TEST := chromium chromium-driver cyclonedds-tools
# What looks at the firmware's C, and for make fuzz-decoders alone libFuzzer.
APT_WATCH := clang-tidy cppcheck
APT_FUZZ := clang libclang-rt-14-dev
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Where a system ROS 2 is sourced, it is the one to use: no ros-* wheel goes over it.
EXTRAS := train,test,campaign,design,mujoco,onnx$(if $(ROS_DISTRO),,$(comma)ros)

# Recordings of the trunk, as their laboratory publishes them: docs/trunk.md.
TRUNK := ../shared/data/trunk_rig
TENDON_RECORDED := ../shared/data/tendon_rig

.PHONY: demo proved test test-long browser fuzz fuzz-instruments onnx swap lockstep realtime soak docs bench pictures trunk recorded-days second-opinions results setup clean recurrent faults unplug fuzz-decoders lint-c coverage day

# Recorded and trained once; again only where what they come from has changed.
demo: models/tendon/fk.json
	$(BIN)/softctl build models/tendon --out build/tendon
	rm -rf runs/demo
	$(BIN)/softctl run --controller mpc --target pil --wiring mcu --cut 4@8 --out runs/demo/mpc
	$(BIN)/softctl run --controller pid --target pil --wiring mcu --out runs/demo/pid
	$(BIN)/softctl report runs/demo/mpc runs/demo/pid --out runs/demo/report.html

RIG := config/tendon.yaml config/robots/tendon.yaml config/excitation.yaml config/lightlace.yaml \
  soft_control/learning/excitation.py $(wildcard soft_control/rigs/*.py soft_control/robots/*.py)
LEARNING := $(wildcard soft_control/learning/*.py)

data/tendon/.recorded: $(VENV)/.ready $(RIG)
	rm -rf data/tendon
	$(BIN)/softctl collect --out data/tendon
	touch $@

models/tendon/fk.json: data/tendon/.recorded $(LEARNING)
	$(BIN)/softctl train data/tendon --out models/tendon

# A file at a time for each core: what a file's tests share is made once.
test: setup browser watch-tools
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Those that take a minute or more: cables pulled, firmware changed and controllers swapped in mid-run.
test-long: setup
	$(BIN)/python -m pytest -m long

# A million hostile problems for the solver under AddressSanitizer and UBSan: some ten minutes.
fuzz:
	$(MAKE) -C test/firmware/fuzz PROBLEMS=1000000

# Ten million damaged bytes for each instrument's driver, under the same, and for its Python twin.
fuzz-instruments: setup
	$(BIN)/python test/firmware/instruments/fuzz.py 10000000

# Ten million inputs of libFuzzer for each decoder, then C and Python on what it has found: eight minutes.
fuzz-decoders: APT_WATCH += $(APT_FUZZ)
fuzz-decoders: setup watch-tools
	$(BIN)/python test/firmware/decoders/decoders.py 10000000

# docs/onnx.md: all of ONNX' own tests of what is read, all networks against onnxruntime. Some minutes.
onnx: setup
	ONNX_ALL=1 $(BIN)/python -m pytest -q test/nn4mc_codegen/importers/test_onnx_backend.py \
	  test/nn4mc_codegen/importers/test_against_onnxruntime.py test/nn4mc_codegen/importers/test_random_onnx.py

# docs/faults.md: everything that can go wrong on wires, processes, files and clocks, on the library, on the
# emulated board and with all processes of a run. 224 of them in 137 s, on two cores that others used as well.
faults: models/tendon/fk.json
	$(BIN)/softctl faults --page docs/faults.md

# How much faster than real time lockstep goes, with the instruments at the microcontroller.
lockstep: models/tendon/fk.json
	$(BIN)/softctl build models/tendon --out build/tendon
	$(BIN)/python bench/lockstep.py

# Controllers change places forty times in mid-run, on the emulated microcontroller.
swap: setup
	SWAP_ROUNDS=10 $(BIN)/python -m pytest -q test/soft_control/experiment/test_swap.py

# Each device of a run in real time is unplugged a hundred times: docs/recovery.md. Some fifteen minutes.
unplug: setup
	UNPLUG_CYCLES=100 $(BIN)/python -m pytest -q -s -m long test/soft_control/experiment/test_unplug.py

# Pages that say what models, parameters and commands say of themselves.
docs: setup
	$(BIN)/python -m soft_control.cli.reference_pages

# All that docs/trunk.md says, from the recordings: some half an hour, and no part of the tests.
trunk: models/trunk/fk.json twins/trunk/twin.json
	$(BIN)/softctl build models/trunk --robot trunk --out build/trunk
	rm -rf runs/trunk && mkdir -p runs/trunk
	sed 's/^  mcu:$$/  mcu:\n    tethered: true/' config/robots/trunk.yaml > runs/trunk/tethered.yaml
	for target in sil pil; do for run in 2 1_100g 1_300g; do \
	  $(BIN)/softctl replay $(TRUNK)/observations_$$run.csv --model models/trunk --firmware build/trunk \
	    --target $$target --out runs/trunk/replay_$${run}_$$target || exit 1; done; done
	$(ON_TWIN) --robot trunk --reference $(TRUNK)/observations_2.csv --out runs/trunk/recorded
	$(ON_TWIN) --robot runs/trunk/tethered.yaml --reference $(TRUNK)/observations_2.csv --out runs/trunk/tethered
	$(ON_TWIN) --robot trunk --reference figure_eight --out runs/trunk/figure_eight
	$(BIN)/python bench/trunk.py $(TRUNK) models/trunk build/trunk twins/trunk runs/trunk

ON_TWIN = $(BIN)/softctl run --rig twins/trunk --model models/trunk --firmware build/trunk

models/trunk/fk.json: $(VENV)/.ready config/robots/trunk.yaml $(LEARNING)
	$(BIN)/softctl train $(TRUNK)/observations_1.csv --robot config/robots/trunk.yaml --out models/trunk

twins/trunk/twin.json: $(VENV)/.ready config/robots/trunk.yaml $(LEARNING)
	$(BIN)/softctl twin $(TRUNK)/observations_1.csv --robot config/robots/trunk.yaml --out twins/trunk

RECORDED_DAYS := 2020-09-23_cdc6946 2020-09-28_13417d5 2020-09-17_4edb702

# All that docs/recorded_days.md says, from the recordings: some six minutes.
recorded-days: $(RECORDED_DAYS:%=models/recorded/%/fk.json)
	$(BIN)/python bench/recorded_days.py $(TENDON_RECORDED) models/recorded

models/recorded/%/fk.json: $(VENV)/.ready config/robots/tendon_recorded.yaml $(LEARNING)
	$(BIN)/softctl train $(TENDON_RECORDED)/$*.csv --rig tendon_recorded --out models/recorded/$*

# All that docs/second_opinions.md says: both rigs in MuJoCo recorded, trained and tracked. Some fifteen minutes.
second-opinions: models/mujoco_tendon/fk.json models/mujoco_hasel/fk.json
	rm -rf runs/second_opinions
	for rig in mujoco_tendon mujoco_hasel; do \
	  $(BIN)/softctl build models/$$rig --robot $$rig --out build/$$rig || exit 1; \
	  $(BIN)/softctl run --rig $$rig --model models/$$rig --firmware build/$$rig --target pil \
	    --out runs/second_opinions/$$rig || exit 1; done
	$(BIN)/python bench/second_opinions.py models build runs/second_opinions

models/mujoco_%/fk.json: $(VENV)/.ready $(LEARNING) config/mujoco_%.yaml config/robots/mujoco_%.yaml \
  config/excitation.yaml soft_control/learning/excitation.py $(wildcard soft_control/rigs/mujoco_*.py)
	rm -rf data/mujoco_$*
	$(BIN)/softctl collect --rig mujoco_$* --out data/mujoco_$*
	$(BIN)/softctl train data/mujoco_$* --rig mujoco_$* --out models/mujoco_$*

RESULTS := tendon tendon_fixed tendon_channels tendon_more tendon_watch hasel hasel_channels hasel_more hasel_watch
STANDS := build/tendon/firmware.json build/hasel/firmware.json
ROWS_FROM := $(STANDS) $(LEARNING) \
  $(wildcard $(addprefix soft_control/,campaign/*.py control/*.py rigs/*.py experiment/closed_loop.py)) \
  $(wildcard config/tuned/*.yaml config/pid*.yaml config/static_inverse.yaml config/reference.yaml)

# docs/results.md: both rigs recorded, trained and tracked in every way, whatever is wrong with them.
# 32 minutes from nothing on two cores; of what is there only what comes from something newer is made.
# Training has one core to do with, so both rigs are trained at once; a campaign takes all there are.
results:
	$(MAKE) --jobs 2 $(STANDS)
	$(MAKE) docs/results.md

# Written each time: the script is quick, and the page is of whatever has been run.
.PHONY: docs/results.md
docs/results.md: $(RESULTS:%=campaigns/results_%/table.parquet)
	$(BIN)/python bench/results.py $(filter-out %_watch,$(^D)) --watched $(filter %_watch,$(^D))

# Exit code 1: a run broke off, which the page says; without a table the page's script does.
campaigns/results_%/table.parquet: config/campaigns/results_%.yaml $(ROWS_FROM)
	rm -rf $(@D)
	$(BIN)/softctl campaign $< --out $(@D) || [ $$? -eq 1 ]

build/%/firmware.json: models/%/fk.json config/robots/%.yaml $(wildcard soft_control/firmware_*.py) \
  $(shell find firmware -name '*.[chS]')
	$(BIN)/softctl build models/$* --robot $* --out build/$*

models/hasel/fk.json: $(VENV)/.ready $(LEARNING) config/hasel.yaml config/robots/hasel.yaml config/magnetic.yaml \
  config/excitation.yaml soft_control/learning/excitation.py $(wildcard soft_control/rigs/*.py)
	rm -rf data/hasel
	$(BIN)/softctl collect --rig hasel --runs 16 --out data/hasel
	$(BIN)/softctl train data/hasel --rig hasel --out models/hasel

# The demo's bounds against many samples that look for the worst: 100,000 in pil, ten million in sil with
# counted calls, some ten minutes each.
proved: models/tendon/fk.json
	$(BIN)/softctl build models/tendon --out build/tendon
	$(BIN)/softctl prove build/tendon --samples 100000
	$(BIN)/python bench/proof_counts.py build/tendon 10000000

# 10,368,000 samples in sil, each looked at: time, memory, counters across their wrap. Some ten minutes.
day: models/tendon/fk.json
	$(BIN)/softctl build models/tendon --out build/tendon
	$(BIN)/python bench/day.py build/tendon

# clang-tidy and cppcheck on the firmware, with the settings of three robots; `make test` does it, too.
lint-c: setup watch-tools
	$(BIN)/python test/firmware/lint/lint.py

# What the tests of test/firmware reach of the firmware's lines and branches: docs/coverage.md. Below its limits it
# fails. Two minutes of one core.
coverage: setup
	$(BIN)/python bench/coverage.py --missing

# Counts instructions and reads no clock: the same numbers on any machine.
bench: setup build/bench/.ready
	$(BIN)/python bench/run.py
	$(BIN)/python bench/solver.py

# docs/recurrent_mpc.md: a GRU of 59 units in the MPC. Trains for five minutes, counts for some fifteen.
recurrent: setup
	$(BIN)/python bench/recurrent.py

# Ten minutes of the demo's firmware under QEMU by its own timer. Reads a clock: on two quiet cores only.
realtime: models/tendon/fk.json
	$(BIN)/softctl build models/tendon --out build/tendon
	$(BIN)/python bench/realtime.py

# docs/images: each rig's URDF by VTK, in an environment of its own, and the report of the demo's runs in Chromium.
pictures: build/pictures/.ready demo
	build/pictures/bin/python -m bench.pictures
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1160,2530 \
	  --screenshot=docs/images/report.png "file://$(CURDIR)/runs/demo/report.html"

build/pictures/.ready: bench/pictures.txt
	python3 -m venv build/pictures
	build/pictures/bin/python -m pip install --quiet -r bench/pictures.txt
	touch $@

# Half an hour of the rig's time in lockstep, twice: nothing may grow, both must be the same.
soak: models/tendon/fk.json
	$(BIN)/softctl build models/tendon --out build/tendon
	$(BIN)/python bench/soak.py

build/bench/.ready: bench/requirements.txt
	python3 -m venv build/bench
	build/bench/bin/python -m pip install --quiet --upgrade pip
	build/bench/bin/python -m pip install --quiet -r bench/requirements.txt
	build/bench/bin/python -m pip install --quiet --no-deps keras2c==2.0
	touch $@

# 121 MB, 11 s where the mirror is near. Where it cannot be had, tests of the page skip and say so.
browser:
	@missing=""; for p in $(APT_TEST); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing Debian packages:$$missing"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing || true; \
	fi

# 10 MB. Where they cannot be had, the tests that need them skip and say so.
.PHONY: watch-tools
watch-tools:
	@missing=""; for p in $(APT_WATCH); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing Debian packages:$$missing"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing || true; \
	fi

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
	rm -rf $(VENV) build models twins runs data *.egg-info
