# `make` alone lists the targets. Variables: WORKERS (chunk-workers), GATEWAY_PORT, JETTYTHUNDER_DATA_DIR,
# PYTHON (which Python makes the virtual environment), TEST_PROCESSES (how many share the tests), ARGS (handed on
# to the command behind a target).

PYTHON ?=
# One more than a machine of two cores has: tests that start servers also wait.
TEST_PROCESSES ?= 3
VENV := .venv
BIN := $(VENV)/bin
PROMETHEUS := .prometheus
STACK := $(BIN)/jettythunder stack
WORKER := deploy/cloudflare-worker
MESSAGING := $(addprefix tests/integration/,messaging chunk_worker provisioning usage_meter operations)
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --quiet --generate-hashes \
           --no-emit-index-url --no-emit-find-links --no-header

.DEFAULT_GOAL := help

# Test modules are compiled once, and not by each process of each run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The environment is made anew only when the pins, or what it is made of, have changed.
$(VENV)/installed: requirements.lock pyproject.toml cli/pyproject.toml deploy/dev/pyproject.toml deploy/dev/make-venv
	@PYTHON="$(PYTHON)" deploy/dev/make-venv $(VENV)
	@touch $@

.PHONY: install
install: $(VENV)/installed ## Make the virtual environment with the pinned packages

.PHONY: up
up: install ## Start everything and wait until it answers (WORKERS=4 for four chunk-workers)
	@$(STACK) up $(if $(WORKERS),--workers $(WORKERS)) $(ARGS)

.PHONY: down
down: install ## Stop everything; the data stays
	@$(STACK) down $(ARGS)

.PHONY: purge
purge: install ## Stop everything and remove its data, logs and secrets
	@$(STACK) down --purge $(ARGS)

.PHONY: status
status: install ## Show what runs, where and since when
	@$(STACK) status $(ARGS) || [ $$? -eq 3 ]

.PHONY: logs
logs: install ## Follow the logs (ARGS=storage-gateway for one of them)
	@$(STACK) logs --follow $(ARGS)

.PHONY: lint
lint: install ## Check style, formatting, types and the directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: install ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: test
test: install ## Run the tests but for the long ones, on servers of their own
	$(BIN)/pytest -m "not deep and not chaos and not hostile and not worker and not containers and not browser and not dashboards and not alerts and not failover" --ignore tests/performance -n $(TEST_PROCESSES) $(ARGS)

# Containers end with the session that started them, so no reaper's image is needed.
.PHONY: test-rabbitmq4
test-rabbitmq4: export TESTCONTAINERS_RYUK_DISABLED = true
test-rabbitmq4: install ## Run what has to do with messages on RabbitMQ 4 and PostgreSQL 17 in containers
	@deploy/images/require-engine postgres:17-alpine rabbitmq:4-alpine
	$(BIN)/pytest -m "not deep and not chaos" $(MESSAGING) $(ARGS)

.PHONY: test-unit
test-unit: install ## Run the tests that need no servers
	$(BIN)/pytest tests/unit tests/contracts -m "not deep" -n 2 $(ARGS)

.PHONY: test-deep
test-deep: install ## Run the long property tests, and fuzz every parser with a million inputs
	$(BIN)/pytest -m deep $(ARGS)

.PHONY: test-upgrade
test-upgrade: install ## Upgrade a filled stack of the version before (needs the repository's whole history)
	$(BIN)/pytest -m deep tests/upgrade $(ARGS)

# Wrangler asks nothing of Cloudflare here, and tells it nothing.
test-worker: export WRANGLER_SEND_METRICS = false
test-worker: export CI = 1
test-worker: export PATH := $(PATH):$(CURDIR)/$(BIN)

$(WORKER)/node_modules/installed: $(WORKER)/package-lock.json $(WORKER)/.npmrc $(WORKER)/install | $(VENV)/installed
	@$(WORKER)/install $(VENV)
	@touch $@

.PHONY: test-worker
test-worker: install $(WORKER)/node_modules/installed ## Check the Cloudflare Worker, and run it in workerd beside chunk-workers
	cd $(WORKER) && npm run --silent check
	$(BIN)/pytest -m worker tests/integration/edges tests/integration/jettyspeed -n $(TEST_PROCESSES) $(ARGS)

.PHONY: test-hostile
test-hostile: install ## Measure a well-behaved account while slow, silent and greedy clients attack
	$(BIN)/pytest -m hostile tests/hostile $(ARGS)

.PHONY: alerts
alerts: ## Check Prometheus' configuration and rules, and that each alert fires and rests
	@deploy/observability/get-prometheus $(PROMETHEUS)
	$(PROMETHEUS)/promtool check config --syntax-only deploy/observability/prometheus/prometheus.yml
	$(PROMETHEUS)/promtool check rules --lint=all deploy/observability/prometheus/rules/*.yml
	$(PROMETHEUS)/promtool test rules deploy/observability/prometheus/tests/*.yml

.PHONY: alerts-live
alerts-live: install ## Have each alert fire and rest in a real Prometheus, minutes taken for seconds (10 minutes)
	@deploy/observability/get-prometheus $(PROMETHEUS)
	$(BIN)/pytest -m alerts -s tests/observability/test_alerts.py $(ARGS)

.PHONY: dashboards
dashboards: install ## Write Grafana's dashboards from the code
	$(BIN)/python -m jettythunder_dev.dashboards

.PHONY: dashboards-test
dashboards-test: install ## Ask a real Prometheus for every panel and rule while the services have traffic
	@deploy/observability/get-prometheus $(PROMETHEUS)
	$(BIN)/pytest -m dashboards tests/observability $(ARGS)

.PHONY: chaos
chaos: install ## Kill servers and services under load, and see what is lost
	$(BIN)/pytest -m chaos $(ARGS)

.PHONY: failover-test
failover-test: install ## Lose the database's primary under load, restore it to a moment, and try PgBouncer
	$(BIN)/pytest -m failover -s tests/failover $(ARGS)

.PHONY: images
images: ## Build the container images, and the bill of materials (TAG=latest)
	@deploy/images/build

.PHONY: compose-secrets
compose-secrets: install ## Make the secrets of deploy/compose where they are missing
	@$(BIN)/python -m jettythunder_dev.container_secrets $(ARGS)

COMPOSED := postgres:17-bookworm rabbitmq:4-management haproxy:3.0 jettythunder jettythunder-s3

.PHONY: compose-test
compose-test: install ## Start all of it in containers, make the five calls, and upload over eight workers
	@deploy/images/require-engine $(COMPOSED)
	$(BIN)/pytest -m containers -s tests/containers/test_compose.py $(ARGS)

.PHONY: drain-test
drain-test: install ## Restart every container in turn under load, and account for every upload and message
	@deploy/images/require-engine $(COMPOSED)
	$(BIN)/pytest -m containers -s tests/containers/test_drain.py $(ARGS)

OBSERVING := prom/prometheus:v3.5.0 otel/opentelemetry-collector-contrib:0.148.0 openzipkin/zipkin:3.5.1

.PHONY: observe-test
observe-test: install ## Start all of it with Prometheus and traces, and look at every target, rule and one trace
	@deploy/images/require-engine $(COMPOSED) $(OBSERVING)
	$(BIN)/pytest -m containers -s tests/containers/test_observe.py $(ARGS)

.PHONY: desktop-pictures
desktop-pictures: install ## Work through the desktop page in Chromium, check it with axe, and take its pictures
	$(BIN)/pytest -m browser tests/browser $(ARGS)

.PHONY: cluster-test
cluster-test: install ## Kill a node of a RabbitMQ cluster under load, and account for every upload and message
	@deploy/images/require-engine $(COMPOSED)
	$(BIN)/pytest -m containers -s tests/containers/test_cluster.py $(ARGS)

.PHONY: bench
bench: OUTPUT = $(filter --json --markdown,$(ARGS))
bench: install ## Measure uploads against their peers, then messaging, replay and metering
	$(BIN)/python -m tests.performance.bench_uploads $(ARGS)
	$(BIN)/python -m tests.performance.bench_messaging $(OUTPUT)
	$(BIN)/python -m tests.performance.bench_replay $(OUTPUT)
	$(BIN)/python -m tests.performance.bench_metering $(OUTPUT)

.PHONY: bench-uploads
bench-uploads: install ## Measure uploads alone (ARGS="--profile all --sizes 100,1000"; tusd too where TUSD names it)
	$(BIN)/python -m tests.performance.bench_uploads $(ARGS)

.PHONY: bench-cpu
bench-cpu: install ## Measure what one operation costs each service and server in CPU time
	$(BIN)/python -m tests.performance.bench_cpu $(ARGS)

.PHONY: capacity
capacity: install ## Compute what a load needs, and ten times as much (ARGS="--small-uploads 20 --gb-in 0.1")
	@$(BIN)/python -m jettythunder_dev.capacity $(ARGS)

.PHONY: bench-jettyspeed
bench-jettyspeed: install ## Measure JettySpeed against other clients over shaped links (needs curl; rclone if there)
	$(BIN)/python -m tests.performance.jettyspeed.bench $(ARGS)

.PHONY: bench-tracing
bench-tracing: install ## Measure CPU time and throughput of events and uploads with traces off, and on at 10 %, in turns
	$(BIN)/python -m tests.performance.bench_tracing $(ARGS)

.PHONY: bench-worker
bench-worker: install $(WORKER)/node_modules/installed ## Measure JettySpeed over a chunk-worker, the Cloudflare Worker, and both
	$(BIN)/python -m tests.performance.jettyspeed.worker_edge $(ARGS)

.PHONY: bench-cdn
bench-cdn: install ## Measure the desktop CDN warm: throughput, and the time of small reads
	$(BIN)/python -m tests.performance.bench_cdn $(ARGS)

.PHONY: bench-folder
bench-folder: install ## Measure a folder of many small files by `jettythunder upload`, against a plain loop
	$(BIN)/python -m tests.performance.bench_folder $(ARGS)

.PHONY: bench-scale-out
bench-scale-out: install ## Measure throughput by the number of chunk-workers, before a storage that answers late
	$(BIN)/python -m tests.performance.bench_scale_out $(ARGS)

.PHONY: bench-scale
bench-scale: install ## Measure what statements cost as the database grows (ARGS="--sizes 1,10,100" for the largest)
	$(BIN)/python -m tests.performance.bench_scale $(ARGS)

.PHONY: manifests
manifests: install ## Check the Kubernetes manifests: style, schemas, rules, and the services' own settings
	$(BIN)/yamllint --strict --config-file deploy/kubernetes/yamllint.yaml deploy/kubernetes
	$(BIN)/python -m jettythunder_dev.manifests

.PHONY: manifests-apply
manifests-apply: install ## Apply the manifests to a Kubernetes API with fake nodes (needs Go; builds it once, 9 minutes)
	@deploy/kubernetes/apply/try

.PHONY: manifests-schemas
manifests-schemas: install ## Write deploy/kubernetes/schemas.json from the modules of Kubernetes and the operators (needs Go)
	$(BIN)/python -m jettythunder_dev.manifests.vendoring

.PHONY: manifests-rules
manifests-rules: install ## Write Prometheus' rules as an object of the Prometheus operator
	$(BIN)/python -m jettythunder_dev.manifests.alerts

.PHONY: schema
schema: install ## Write deploy/database/schema.sql from the migrations
	@$(STACK) schema $(ARGS)

.PHONY: asyncapi
asyncapi: install ## Write the description of all events from the code
	$(BIN)/python -m jettythunder_cli.main contracts asyncapi > docs/asyncapi.yaml.new
	mv docs/asyncapi.yaml.new docs/asyncapi.yaml

.PHONY: docs
docs: asyncapi ## Write the parts of the documentation that are generated from the code and the schema
	$(BIN)/python -m jettythunder_dev.reference

.PHONY: lock
lock: install ## Pin the newest allowed packages, with their hashes
	$(COMPILE) --upgrade --extra dev --no-emit-package jettythunder --no-emit-package jettythunder-client \
	  pyproject.toml deploy/dev/pyproject.toml --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --extra tracing --no-emit-package jettythunder-client pyproject.toml \
	  --output-file deploy/images/services-requirements.lock
	$(COMPILE) --constraint requirements.lock cli/pyproject.toml --output-file deploy/images/client-requirements.lock
	$(COMPILE) --constraint requirements.lock deploy/images/build-requirements.in \
	  --output-file deploy/images/build-requirements.lock
	$(COMPILE) --upgrade deploy/dev/swift-requirements.in --output-file deploy/dev/swift-requirements.lock

.PHONY: trace-picture
trace-picture: install ## Draw docs/images/trace.png: one upload as Zipkin shows it (needs Java, Maven and Chromium)
	$(BIN)/python -m tests.pictures.trace $(ARGS)

.PHONY: clean
clean: ## Remove the virtual environment and what tools left behind (not the stack's data)
	rm -rf $(WORKER)/node_modules $(WORKER)/dist $(WORKER)/.wrangler
	rm -rf $(VENV) $(PROMETHEUS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find shared services cli tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
