# Oxkeeper: what can be done here. `make` alone lists it.
#
# One cargo profile (--release) serves everything, and build output lies outside the checkout, so
# that RocksDB (about 12 minutes on two cores) is compiled once per machine.

CACHE := $(or $(OXKEEPER_CACHE),$(HOME)/.cache/oxkeeper)
export OXKEEPER_CACHE := $(CACHE)
export CARGO_TARGET_DIR ?= $(CACHE)/target
SERVER ?= oxkeeper
CARGO := cargo
BIN := $(CARGO_TARGET_DIR)/release/oxkeeper
export OXKEEPER_BIN := $(BIN)
SHELL := /bin/bash

.PHONY: help deps build run test unit compat curator verify fix bench fuzz differences chaos power hostile soak
.PHONY: kazoo c-client node-client go-client kafka kafka-cluster patroni
.PHONY: bench-floor bench-sweeps bench-plots bench-table
.PHONY: sim
.PHONY: run-ensemble test-ensemble chaos-ensemble compat-ensemble bench-ensemble
.PHONY: differential-ensemble reports scripts kafka-rolling patroni-ensemble cases-ensemble planted

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

deps:  ## Install what the build and the tests need
	@compat-tests/tools/deps build

build: deps  ## Build the server; the last line is the path of its binary
	@echo "oxkeeper: building (the first time RocksDB is compiled: about 12 minutes on two cores)"
	@$(CARGO) build --release --locked --bin oxkeeper
	@echo "$(BIN)"

run: build  ## Build and run a single node on port 2181, data in ./data
	@exec "$(BIN)"

run-ensemble: build  ## Build and run three servers on ports 2181 to 2183, data in ./data-ensemble
	@exec compat-tests/tools/run-ensemble "$(BIN)"

unit: deps  ## Unit, golden and property tests of all crates
	@echo "oxkeeper: unit tests"
	@$(CARGO) test --release --locked --workspace --quiet

sim: deps  ## Three servers in simulated time, with faults: SEEDS=1000 of them, or only SEED=n
	@OXKEEPER_SIM_SEEDS="$(or $(SEEDS),1000)" $(if $(SEED),OXKEEPER_SIM_SEED="$(SEED)") \
		$(CARGO) test --release --locked -p oxkeeper --lib -- ensemble::tests::sim::

test: build unit  ## All tests: unit, then the suites with real clients
	@compat-tests/tools/deps test
	@compat-tests/tools/suites all

compat: build  ## The suites with real clients on SERVER=oxkeeper|zookeeper|HOST:PORT
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" compat-tests/tools/suites compat

curator: build  ## Apache Curator's recipes on SERVER, each also with its connection and its session lost
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" compat-tests/clients/curator/run

kazoo: build  ## Kazoo's own test suite and its recipes on SERVER; KAZOO="--quick" or "-k NAME" narrows it
	@compat-tests/tools/deps kazoo
	@SERVER="$(SERVER)" compat-tests/clients/python/run $(KAZOO)

c-client: build  ## The C client on SERVER
	@compat-tests/tools/deps c-client
	@SERVER="$(SERVER)" compat-tests/clients/c/run

node-client: build  ## The Node client on SERVER
	@compat-tests/tools/deps node-client
	@SERVER="$(SERVER)" compat-tests/clients/node/run

go-client: build  ## The Go client on SERVER
	@compat-tests/tools/deps go-client
	@SERVER="$(SERVER)" compat-tests/clients/go/run

kafka: build  ## One Kafka broker in ZooKeeper mode on SERVER, which is killed under load
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" compat-tests/clients/kafka/run

kafka-cluster: build  ## Three Kafka brokers on SERVER: controller killed, partitions moved, rolling restart
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" compat-tests/clients/kafka/run cluster

patroni: build  ## Two PostgreSQL nodes under Patroni on SERVER: leader killed, server killed, switchover
	@compat-tests/tools/deps patroni
	@SERVER="$(SERVER)" compat-tests/clients/patroni/run

chaos: build  ## 300 crashes at random and 200 at named steps, then damaged disks (SERVER=zookeeper: random ones)
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- chaos --cycles 300 \
		--at-each-point $(if $(filter oxkeeper,$(SERVER)),10,0)
	@test "$(SERVER)" != oxkeeper || $(CARGO) run --release --locked --quiet -p compat-tests -- damage

power: build  ## Power loss on an ext4 of its own: CYCLES=10 (needs root)
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- power --cycles $(or $(CYCLES),10)

test-ensemble: build  ## What `make test` asks of three servers: 2 of each fault (SERVER=zookeeper: the genuine ones)
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- ensemble-chaos --cycles 2

chaos-ensemble: build  ## 10 of each fault between three servers; CHAOS="--cycles 50 --network proxies", part of a name
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- ensemble-chaos --cycles 10 $(CHAOS)

cases-ensemble: build  ## Failures of three servers that have a name; CASES="part of a name"
	@compat-tests/tools/deps test
	@$(CARGO) run --release --locked --quiet -p compat-tests -- ensemble-cases $(CASES)

planted: deps  ## Break the server on purpose, in one way after the other: the tests must find each
	@compat-tests/tools/deps test
	@echo "oxkeeper: building a server that can be broken"
	@$(CARGO) build --release --locked --bin oxkeeper --features planted
	@mkdir -p "$(CACHE)/planted"
	@cp "$(BIN)" "$(CACHE)/planted/oxkeeper"
	@$(CARGO) build --release --locked --bin oxkeeper
	@$(CARGO) test --release --locked --quiet -p oxkeeper --lib -- ensemble::tests::sim::planted::
	@SERVER=oxkeeper OXKEEPER_BIN="$(CACHE)/planted/oxkeeper" \
		$(CARGO) run --release --locked --quiet -p compat-tests -- ensemble-planted $(DEFECT)

compat-ensemble: build  ## The suites with real clients on a follower of three of SERVER, and on three that are killed
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" compat-tests/tools/suites ensemble

differential-ensemble: build  ## 1,000 sequences to a follower of ours and one of a genuine ensemble
	@compat-tests/tools/deps test
	@SERVER=oxkeeper $(CARGO) run --release --locked --quiet -p compat-tests -- differential --members 3 \
		--sequences $(or $(SEQUENCES),1000)

reports: build  ## What others reported of ensembles, played on three of SERVER; REPORT="part of a name"
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- ensemble-reports $(REPORT)

scripts: build  ## zkServer.sh status of the distribution at ZOOKEEPER_HOME, of each of three of SERVER
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- ensemble-scripts

kafka-rolling: build  ## Three Kafka brokers on three of SERVER, killed and stopped one after the other under load
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" compat-tests/clients/kafka/run rolling

patroni-ensemble: build  ## The same as patroni on three of SERVER, the leader of which is killed
	@compat-tests/tools/deps patroni
	@MEMBERS=3 SERVER="$(SERVER)" compat-tests/clients/patroni/run

hostile: build  ## Hostile bytes and load, while others are served; HOSTILE="--quick", part of a name
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- hostile $(HOSTILE)

soak: build  ## 5 minutes at the highest rate: nothing dies, nothing grows; SOAK="--seconds 20"
	@compat-tests/tools/deps test
	@SERVER="$(SERVER)" $(CARGO) run --release --locked --quiet -p compat-tests -- soak $(SOAK)

verify: deps  ## Format, lints, tests, docs, licences, spelling; writes nothing in the checkout
	@compat-tests/tools/deps verify
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --release --locked --workspace --quiet
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps --quiet
	$(CACHE)/tools/bin/cargo-deny --log-level error check bans licenses sources
	$(CACHE)/tools/venv/bin/typos

fix:  ## Format and apply what the lints can apply
	$(CARGO) fmt --all
	$(CARGO) clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged
	OXKEEPER_REGENERATE=1 $(CARGO) test --release --quiet --lib config::docs

fuzz:  ## 5 million executions of every decoder entry point, 100,000 stateful scripts (needs nightly)
	@compat-tests/tools/deps fuzz
	@compat-tests/tools/fuzz

bench: build  ## Our server beside the genuine ZooKeeper; BENCH="--quick", names of scenarios: bench --help
	@compat-tests/tools/deps test
	@mkdir -p "$(CACHE)/bench"
	@$(CARGO) run --release --locked --quiet -p bench -- --out "$(CACHE)/bench/results.json" $(BENCH)

bench-floor: build  ## Our server beside one that does only what ZooKeeper's promises need (BENCH="--seconds 5")
	@compat-tests/tools/deps test
	@$(CARGO) run --release --locked --quiet -p bench -- floor $(BENCH)

bench-ensemble: build  ## Three of our servers beside three genuine ones (BENCH="--quick", names of parts)
	@compat-tests/tools/deps test
	@$(CARGO) run --release --locked --quiet -p bench -- ensemble $(BENCH)

bench-sweeps: build  ## Record what the pictures show (at most 70 minutes; BENCH=--quick: some)
	@compat-tests/tools/deps test
	@mkdir -p "$(CACHE)/bench"
	@$(CARGO) run --release --locked --quiet -p bench -- --out "$(CACHE)/bench/results.json" sweep $(BENCH)

bench-plots: deps  ## Draw docs/*.svg from what bench-sweeps recorded
	@$(CARGO) run --release --locked --quiet -p bench -- plots --from "$(CACHE)/bench" --to docs

bench-table: deps  ## The table of docs/performance.md, in Markdown, from what bench recorded
	@$(CARGO) run --release --locked --quiet -p bench -- table --from "$(CACHE)/bench/results.json"

differences:  ## Every deliberate difference from ZooKeeper, as the code marks it
	@grep -rn --include='*.rs' -A3 'zk-differs:' src jute/src | sed -E 's/^([^:-]+)[:-]([0-9]+)[:-] *\/\/[\/!]? ?/\1:\2 /'
