# make demo    a fleet on this machine, patched while clients are connected
# make test    every test, end to end ones included
# make mutants  would the tests notice? (part of make test)
# make test-sim  the rollout in a simulated world: SEEDS=5000 of them, or SEED=17 and what happened in it
# make build   the binaries that both use
# make bench-fanout  what a rollout over 1,000 and 10,000 simulated nodes costs its controller
# make bench-ssh  what SSH and inventories cost, beside OpenSSH, clush and Ansible; BENCH=ssh_true, ssh_warm, ssh_patch or inventory_load for one
# make bench   what a call, a cast, an idle actor and an upgrade cost, one JSON object a line
#
# Each installs what it misses: on Debian by apt, as root or through sudo; elsewhere it says what to install.

CARGO ?= cargo
# Everything is built with one profile and one set of features, so that nothing is compiled twice.
BUILD  = $(CARGO) build --release --workspace --all-targets
GUEST_TARGET = $${MIDFLIGHT_GUEST_TARGET:-$${XDG_CACHE_HOME:-$$HOME/.cache}/midflight/guest-target}
TARGET = $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: all build demo test test-sim mutants bench bench-fanout bench-ssh guests needs lint doc fmt

all: build

needs:
	@./needs.sh cc:gcc ps:procps ssh:openssh-client /usr/sbin/sshd:openssh-server nc:netcat-openbsd setpriv:util-linux ssh-keygen:openssh-client ssh-agent:openssh-client openssl:openssl ansible:ansible-core nodeset:clustershell \
		ip:iproute2 unshare:util-linux nsenter:util-linux pivot_root:util-linux script:bsdutils useradd:passwd sudo:sudo /lib/systemd/systemd:systemd

guests:
	@./guest/build.sh

build: needs guests
	$(BUILD)

demo: build
	@$(TARGET)/midflight demo $(DEMO)

test: build
	cd guest && CARGO_TARGET_DIR="$(GUEST_TARGET)" $(CARGO) test --workspace
	$(CARGO) test --release --workspace --doc
	$(CARGO) test --release --workspace --all-targets
	$(MAKE) mutants

MUTANTS = $(CARGO) test --release --workspace --features midflight-runtime/mutants,midflight-tests/mutants

# Faults planted into the upgrade transaction and into the rollout: the tests must notice each of them. Compiles the runtime,
# the agent and the controller once more.
mutants: guests
	$(MUTANTS) --test mutants --test simulation -- faults::

# Thousands of simulated worlds, and the faults planted into the rollout.
test-sim:
	SEEDS=$(or $(SEEDS),2000) $(CARGO) test --release --workspace --test simulation -- --nocapture
ifeq ($(SEED),)
	$(MUTANTS) --test simulation -- --nocapture faults::
endif

bench: build
	@$(TARGET)/midflight-bench guest/out

bench-fanout: build
	@$(TARGET)/midflight-bench-fanout $(NODES)

bench-ssh: build
	@./needs.sh ip:iproute2 unshare:util-linux useradd:passwd clush:clustershell
	@$(TARGET)/midflight-bench-ssh $(BENCH)

fmt:
	$(CARGO) fmt --all
	cd guest && $(CARGO) fmt --all

lint:
	$(CARGO) fmt --all --check
	cd guest && $(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps
