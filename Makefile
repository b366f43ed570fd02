# SPDX-License-Identifier: GPL-2.0
#
# Entry points. The work is done by the scripts in tools/, which can be called
# by hand too; each says at its top how.

SHELL := /bin/bash
T := tools

# What `make kernel` builds: see tools/kernel/config/TABLE.
CONFIG ?= um-builtin
# Where `make quilt` lays the patched kernel source for editing.
QUILT ?= work/linux
# Where demo, bench and bench-quality write tables, plots and numbers.
OUT ?= out/$@

# Taken from the command line to the scripts.
export IMQ_CACHE IMQ_FETCH IMQ_JOBS IMQ_KERNEL IMQ_OFFLINE KERNEL_SRC
export LIBNFTNL_SRC NFTABLES_SRC IPTABLES_SRC IPROUTE2_SRC

.PHONY: help
help: ## this list
	@echo 'make TARGET [VARIABLE=VALUE...]'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@echo 'Variables'
	@echo
	@sed -n 's/^#= \([A-Z0-9_]*\) *\(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
#= CONFIG         kernel of "make kernel" and "make shell" (um-builtin, um-module...)
#= QUILT          directory for "make quilt" (work/linux)
#= OUT            directory for the results of demo, bench and bench-quality (out/TARGET)
#= TESTS          only these selftests in "make check", e.g. "howto netns"
#= GROUPS         only these groups in "make check", e.g. "static module"
#= TIME           seconds of "make soak" (3600)
#= GUESTS         its guests: debug, smp, kcsan (all three)
#= MUTANTS        only these in "make check-mutants"
#= IMQ_KERNEL     version of the kernel that has a series: 6.12 (the default), 6.1
#= KERNEL_SRC     its source, directory or tarball (Debian's linux-source-6.12)
#= LIBNFTNL_SRC   source directory; likewise NFTABLES_SRC, IPTABLES_SRC, IPROUTE2_SRC
#= IMQ_CACHE      sources, builds and logs (~/.cache/imq)
#= IMQ_JOBS       parallel jobs of a build (number of processors)
#= IMQ_OFFLINE    1: fetch no source; what can't be built is skipped
#= IMQ_FETCH      1: also fetch the newer tools, and run the tests with them

.PHONY: demo
demo: deps-demo ## build all, boot, and show a shared link: no shaper, IFB, IMQ
	@$(T)/demo/demo.sh $(OUT)

.PHONY: bench
bench: deps-bench ## count instructions per packet: none, IFB, IMQ; on several qdiscs
	@$(T)/bench/bench.sh $(OUT)

.PHONY: bench-quality
bench-quality: deps-bench ## measure rates, fairness, latency, memory, SMP, wall time
	@$(T)/bench/quality.sh -o $(OUT)

.PHONY: check
check: deps-check ## run all tests; the last line counts them
	@$(T)/check.sh $(if $(TESTS),-t "$(TESTS)") $(GROUPS)

.PHONY: soak
soak: deps-check ## run the tests with full amounts on checking kernels, for TIME seconds
	@$(T)/soak.sh $(if $(TESTS),-t "$(TESTS)") $(or $(TIME),3600) $(GUESTS)

.PHONY: check-mutants
check-mutants: deps-check ## break one guard after the other; a test has to see each
	@$(T)/mutants/check.sh $(MUTANTS)

.PHONY: check-upstream
check-upstream: deps-check ## compare the kernel's own selftests with and without the series
	@$(T)/upstream/check.sh $(TESTS)

.PHONY: kernel
kernel: deps-build ## build the patched kernel $(CONFIG), print its directory
	@$(T)/kernel/build.sh $(CONFIG)

.PHONY: tools
tools: deps-build ## build nft, iptables, ip and the plugins, print their directories
	@for name in plugins nft iptables iproute2; do \
		$(T)/userland/prefix.sh $$name || [ $$? = 3 ] || exit 1; \
	done

.PHONY: shell
shell: deps-demo ## boot $(CONFIG) with all tools and give a shell in it
	@$(T)/guest/shell.sh $(CONFIG)

.PHONY: patches
patches: ## write the patches from the source folders
	@$(T)/patches/update.py

.PHONY: quilt
quilt: deps-build ## lay out the patched kernel source in $(QUILT), for editing
	@$(T)/kernel/quilt.sh $(QUILT)

.PHONY: refresh
refresh: ## bring edits made in $(QUILT) back into patches and source folders
	@$(T)/kernel/refresh.sh $(QUILT)

.PHONY: deps
deps: ## install the Debian packages needed by all targets
	@$(T)/deps.sh

.PHONY: deps-build deps-demo deps-bench deps-check
deps-build deps-demo deps-bench deps-check: deps-%:
	@$(T)/deps.sh $*

.PHONY: clean
clean: ## remove builds and results (sources and ccache are kept; clean-all: all)
	@$(T)/clean.sh

.PHONY: clean-all
clean-all: ## remove everything that was built or fetched, but work/
	@$(T)/clean.sh --all
