# make demo | check | check-long | bench | pictures | install [DESTDIR=] [PREFIX=/usr] | lock | clean: see HACKING.md

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr
PYTHON := /usr/bin/python3
ARCH := $(patsubst x86_64,x64,$(patsubst aarch64,arm64,$(shell uname -m)))
CLAUDE := node_modules/@anthropic-ai/claude-code-linux-$(ARCH)/claude

# Names that Debian 12, Debian 13 and Ubuntu 24.04 share. Last line: what agents find in their cages.
# redis-tools: `make bench` measures the broker beside Redis, and this has the server without its service.
PACKAGES := systemd systemd-container dbus polkitd util-linux procps iproute2 acl e2fsprogs ca-certificates \
	python3 python3-venv python3-dev gcc libc6-dev pkg-config libsystemd-dev python3-docutils mandoc man-db \
	redis-tools \
	strace faketime \
	git make curl gawk nano locales tzdata
ifeq ($(shell command -v npm),)
PACKAGES += npm
endif

LIB = $(DESTDIR)$(PREFIX)/lib/hyperhive
SHARE = $(DESTDIR)$(PREFIX)/share
SYSTEMD = $(DESTDIR)$(PREFIX)/lib/systemd
VENV = $(PREFIX)/lib/hyperhive/venv
PYTHON_LIB = lib/$(shell $(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])')/site-packages
MODULES := $(patsubst %/,%,$(sort $(dir $(wildcard hyperhive/*.py hyperhive/*/*.py))))
PAGES := $(patsubst man/%.rst,build/man/%,$(wildcard man/*.rst))

.PHONY: demo check check-long bench pictures install lock clean setup packages root
demo: setup root
	bin/hive-box up $(if $(ANTHROPIC_API_KEY),--net=host)
	.venv/bin/python bin/hive-demo

bench: setup root
	.venv/bin/python bin/hive-bench

# The tests of the page and the bench drive it. Ubuntu has it as a snap only.
check pictures bench: PACKAGES += chromium fonts-dejavu-core
# A kernel that has quotas, for the test of limits.disk, which is skipped where nobody has built it.
ifeq ($(ARCH),x64)
check check-long: PACKAGES += user-mode-linux
endif
check: setup root
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pytest --numprocesses=3 --dist=loadfile

# those of the README, as the page looks now
pictures: setup
	PICTURES=$(CURDIR)/man/pictures .venv/bin/pytest tests/page -k test_pictures

# hive-apply, killed at each of its steps, 12,000 random scripts for hive-rules, a box with quotas: too long for each check,
# and to be run after a change of them
check-long: setup root
	.venv/bin/pytest -m long

setup: .venv/stamp node_modules/stamp

packages:
	@missing=$$(comm -13 <(dpkg-query --show --showformat='$${db:Status-Status} $${Package}\n' $(PACKAGES) \
		2>/dev/null | sed -n 's/^installed //p' | sort) <(printf '%s\n' $(PACKAGES) | sort)); \
	[[ -z $$missing ]] || { apt-get update && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $$missing; }

.venv/stamp: requirements-dev.txt | packages
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --quiet --require-hashes --requirement requirements-dev.txt
	echo $(CURDIR) > .venv/$(PYTHON_LIB)/hyperhive.pth
	touch $@

# --ignore-scripts: we run the native program itself, not the package's launcher for it
node_modules/stamp: package-lock.json .npmrc | packages
	npm ci --ignore-scripts
	touch $@

# What the installed programs import.
build/venv/stamp: requirements.txt .venv/stamp
	$(PYTHON) -m venv --clear --without-pip build/venv
	.venv/bin/pip --python build/venv install --quiet --quiet --no-compile --require-hashes --requirement requirements.txt
	rm -f build/venv/bin/[Aa]ctivate*
	sed --in-place '/^command/d' build/venv/pyvenv.cfg
	touch $@

build/man/%: man/%.rst | packages
	mkdir -p $(@D)
	rst2man --halt=2 $< $@

root:
	@cd build/root/usr/lib/hyperhive/hyperhive 2>/dev/null && find . -type f ! -name '*.pyc' | while read -r f; do \
		[[ -e $(CURDIR)/hyperhive/$$f ]] || rm -f $$f; done || true
	@for f in build/root/usr/lib/systemd/system/*; do [[ -e units/$${f##*/} ]] || rm -f $$f; done
	$(MAKE) install DESTDIR=$(CURDIR)/build/root PREFIX=/usr

# $(call put,MODE,FOLDER,FILES): nothing to do without files; no new inode for what is there already
put = $(if $(strip $3),install -d $2 && install --compare --mode=$1 $3 $2,:)
# the same, with the paths of this PREFIX in it
put_text = $(if $(strip $3),mkdir -p build/text/$(notdir $2) && for f in $3; do \
	sed $(PATHS) $$f > build/text/$(notdir $2)/$$(basename $$f); done && \
	$(call put,$1,$2,$(addprefix build/text/$(notdir $2)/,$(notdir $3))),:)
PATHS = -e 's,/usr/\(lib\|share\)/hyperhive,$(PREFIX)/\1/hyperhive,g' \
	-e '1s,^\#!/usr/bin/env python3.*,\#!$(VENV)/bin/python3 -I,'

install: node_modules/stamp build/venv/stamp $(PAGES)
	@$(call put_text,755,$(LIB)/bin,$(wildcard bin/hive*))
	@[[ $(CLAUDE) -ef $(LIB)/bin/claude ]] || ln --force $(CLAUDE) $(LIB)/bin/claude 2>/dev/null \
		|| cmp --silent $(CLAUDE) $(LIB)/bin/claude || cp --reflink=auto $(CLAUDE) $(LIB)/bin/claude
	@$(foreach p,$(MODULES),$(call put_text,644,$(LIB)/$p,$(wildcard $p/*.py));)
	@[[ $(LIB)/venv/stamp -nt build/venv/stamp ]] || { rm -rf $(LIB)/venv; cp --archive build/venv $(LIB)/venv; \
		sed --in-place '1s,^\#!.*,\#!$(VENV)/bin/python3,' $$(grep -l '^\#!.*/build/venv/' $(LIB)/venv/bin/*); \
		echo $(PREFIX)/lib/hyperhive > $(LIB)/venv/$(PYTHON_LIB)/hyperhive.pth; touch $(LIB)/venv/stamp; }
	@$(PYTHON) -m compileall -q -s '$(DESTDIR)' -p / $(LIB)/hyperhive $(LIB)/venv/lib
	@install -d $(DESTDIR)$(PREFIX)/bin
	@ln --force --symbolic ../lib/hyperhive/bin/hivectl ../lib/hyperhive/bin/hive-box $(DESTDIR)$(PREFIX)/bin
	@$(call put_text,644,$(SYSTEMD)/system,$(wildcard $(addprefix units/*.,service socket path target slice timer mount)))
	@$(call put,644,$(SYSTEMD)/catalog,$(wildcard units/hyperhive.catalog))
	@$(call put,644,$(SHARE)/polkit-1/rules.d,$(wildcard units/hyperhive.rules))
	@$(call put,644,$(LIB)/hyperhive/web/page,$(wildcard hyperhive/web/page/*))
	@$(call put,644,$(SHARE)/hyperhive,$(wildcard units/rehearsal.toml))
	@$(call put,644,$(SHARE)/hyperhive/cage/etc,$(wildcard units/cage/etc/*))
	@$(call put,644,$(SHARE)/hyperhive/prompts,$(wildcard prompts/*.md))
	@$(call put,644,$(SHARE)/hyperhive/draft,$(wildcard units/draft/*))
	@$(call put,644,$(SHARE)/hyperhive/datasette,$(wildcard datasette/*.yaml))
	@$(call put,644,$(SHARE)/hyperhive/datasette/plugins,$(wildcard datasette/plugins/*.py))
	@$(call put,644,$(SHARE)/hyperhive/datasette/templates,$(wildcard datasette/templates/*))
	@$(call put,644,$(SHARE)/hyperhive/datasette/static,$(wildcard datasette/static/*))
	@$(foreach n,1 5 7 8,$(call put,644,$(SHARE)/man/man$n,$(filter %.$n,$(PAGES)));)
	@for f in sysusers tmpfiles; do [[ ! -e units/$$f.conf ]] || \
		install -D --compare --mode=644 units/$$f.conf $(DESTDIR)$(PREFIX)/lib/$$f.d/hyperhive.conf; done
	@for f in bin/completion/*.bash; do [[ ! -e $$f ]] || \
		install -D --compare --mode=644 $$f $(SHARE)/bash-completion/completions/$$(basename $$f .bash); done
	@install -d $(DESTDIR)/etc/hyperhive
	@[[ ! -e units/hive.toml || -e $(DESTDIR)/etc/hyperhive/hive.toml ]] || \
		install --mode=644 units/hive.toml $(DESTDIR)/etc/hyperhive
ifeq ($(DESTDIR),)
	@[[ ! -d /run/systemd/system ]] || { systemd-sysusers; systemd-tmpfiles --create hyperhive.conf; \
		journalctl --update-catalog; systemctl daemon-reload; }
endif

# The lock files name no server: pip and npm ask the one that the machine is set up for.
LOCK = build/lock/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip install --quiet pip-tools
	$(LOCK) --output-file=requirements.txt pyproject.toml
	$(LOCK) --output-file=requirements-dev.txt --constraint=requirements.txt --extra=dev pyproject.toml
	npm install --package-lock-only

clean:
	for box in build/box*; do [[ ! -e $$box/lock ]] || HIVE_BOX=$$box bin/hive-box down; done
	rm -rf build .venv node_modules *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
