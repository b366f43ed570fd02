#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/kernel/build.sh [options] NAME
#
# Builds the kernel configuration NAME of tools/kernel/config/TABLE from the
# patched source and prints the directory with the result: linux (User Mode
# Linux) or bzImage, config, release, lib/modules. What was built before from
# the same source, patches, configuration and compiler is not built again.
#
#   -f FILE     one more configuration fragment (may be repeated)
#   -p COUNT    apply only the first COUNT patches, in a tree of their own
#   -m PATCH    apply this one behind the series, in a tree for such; see
#               tools/mutants/check.sh
#   -t TARGETS  make only these targets, e.g. "W=1 net/netfilter/"; prints the
#               build directory, which has the output in targets.log
#   --fresh     throw the build directory away first
#
# Environment: KERNEL_SRC, IMQ_KERNEL (tools/sources.sh), IMQ_CACHE, IMQ_JOBS.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tree.sh
. "$(dirname "$0")/tree.sh"

targets='' fresh='' extra=() count='' mutant=''
while [ $# -gt 1 ]; do
	case $1 in
	-f) extra+=("$(realpath "$2")"); shift ;;
	-p) count=$2; shift ;;
	-m) mutant=$(realpath "$2"); shift ;;
	-t) targets=$2; shift ;;
	--fresh) fresh=1 ;;
	*) usage ;;
	esac
	shift
done
[ $# -eq 1 ] || usage
name=$1
config_dir=$IMQ_TOP/tools/kernel/config
read -r _ arch tristate tree_name steps fragments < <(grep "^${name}[[:space:]]" "$config_dir/TABLE") ||
	die "no configuration '$name' in tools/kernel/config/TABLE"
case $tree_name in
plain) count=0 ;;
steps) count=${count:-$(series_patches | wc -l)} ;;
*) [ -z "$count" ] || die "$name is for the whole series"
	count=$(series_patches | wc -l) ;;
esac
keep=5 result=$name
if [ -n "$mutant" ]; then
	[ "$tree_name" = imq ] || die "-m is for the whole series"
	tree_name=mutants keep=60 result=mutant-$name
fi
[ "$IMQ_KERNEL" = "$IMQ_KERNEL_DEFAULT" ] || result=$IMQ_KERNEL-$result

# renamed: stdin's options under the names that they have in this kernel, without
# those that it does not have.
renamed() {
	local symbols=$config_dir/$IMQ_KERNEL.symbols

	[ -f "$symbols" ] || symbols=/dev/null
	awk 'FILENAME != "-" { if (NF == 2 && !/^#/) name["CONFIG_" $1] = $2; next }
	     match($0, /CONFIG_[A-Za-z0-9_]+/) {
		option = substr($0, RSTART, RLENGTH)
		if (option in name) {
			if (name[option] == "-")
				next
			sub(option, "CONFIG_" name[option])
		}
	     }
	     { print }' "$symbols" -
}

# wanted: the configuration as one fragment. Of what the series adds, only
# options that are there with the patches applied so far.
files=()
for f in $fragments; do
	files+=("$config_dir/$f.config")
	[ ! -f "$config_dir/$f-$IMQ_KERNEL.config" ] || files+=("$config_dir/$f-$IMQ_KERNEL.config")
done
files+=("${extra[@]}")
wanted() {
	local p patches=()

	while read -r p; do
		patches+=("$IMQ_TOP/patches/$p")
	done < <(series_patches | head -n "$count")
	cat "${files[@]}" | renamed | sed "s/=m\$/=$tristate/" | while IFS= read -r line; do
		case $line in
		CONFIG_*IMQ*)
			option=${line#CONFIG_}
			grep -qE "^\+(config|menuconfig) ${option%%=*}\$" \
				/dev/null "${patches[@]}" || continue ;;
		esac
		printf '%s\n' "$line"
	done
	echo "CONFIG_LOCALVERSION=\"-$name\""
	echo "# CONFIG_LOCALVERSION_AUTO is not set"
}

src=$("$IMQ_TOP/tools/sources.sh" linux)

# built: prints where the result is, or is to be; true if it is there.
built() {
	local key

	key=$(hash_text "$(tree_id "$src" "$count" "$mutant" built)" "$arch" "$(wanted)" \
		"$(gcc --version | head -n 1)")
	echo "$IMQ_CACHE/kernels/$result-${key:0:12}"
	[ -z "$targets$fresh" ] && [ -f "$IMQ_CACHE/kernels/$result-${key:0:12}/release" ]
}

if out=$(built); then
	touch "$out"
	echo "$out"
	exit
fi

# What is built is what is there now: somebody else may have built it meanwhile, or
# changed it.
lock "kernel-$IMQ_KERNEL-$tree_name"
if out=$(built); then
	echo "$out"
	exit
fi
tree=$(tree_update "$src" "$count" "$tree_name" "$mutant")
build=$tree/build-$name
[ -z "$fresh" ] || rm -rf "$build"
mkdir -p "$build"

export CCACHE_DIR=${CCACHE_DIR:-$IMQ_CACHE/ccache} CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-8G}
export CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=content
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970'
export KBUILD_BUILD_USER=imq KBUILD_BUILD_HOST=imq
cc=gcc
! command -v ccache >/dev/null || cc='ccache gcc'
kmake() {
	make --no-print-directory -C "$tree" "O=build-$name" "ARCH=$arch" "CC=$cc" "$@"
}

# configure: allnoconfig plus what is wanted; every line of that must hold.
configure() {
	local line option missing=''

	wanted >"$build/wanted.config"
	if ! KCONFIG_ALLCONFIG=wanted.config kmake -s allnoconfig >"$build/config.log" 2>&1; then
		cat "$build/config.log" >&2
		die "$name: configuration failed"
	fi
	while read -r line; do
		option=$(sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=.*/\1/p; s/^# \(CONFIG_[A-Za-z0-9_]*\) is not set$/\1/p' <<<"$line")
		[ -n "$option" ] || continue
		case $line in
		*" is not set"|*=n) ! grep -q "^$option=" "$build/.config" || missing="$missing$line"$'\n' ;;
		*) grep -qxF -- "$line" "$build/.config" || missing="$missing$line"$'\n' ;;
		esac
	done <"$build/wanted.config"
	if [ -n "$missing" ]; then
		log "$name: Kconfig did not take over:"
		printf '%s' "$missing" >&2
		die "$name: configuration not as wanted"
	fi
}

configure
show_errors() {
	grep -n -B 2 -A 12 -m 3 -iE '(error:|error [0-9]|undefined)' "$1" >&2 || tail -n 30 "$1" >&2
}

# The lock is not for what a build may leave running.
if [ -n "$targets" ]; then
	# shellcheck disable=SC2086 # words
	if ! kmake -j"$IMQ_JOBS" $targets {IMQ_LOCK_FD}>&- 2>&1 |
			progress "kernel $name" 0 "$build/targets.log"; then
		show_errors "$build/targets.log"
		die "$name: make $targets failed, log: $build/targets.log"
	fi
	echo "$build"
	exit
fi

case $arch in
um) all=(linux) image=linux ;;
x86_64) all=(bzImage) image=arch/x86/boot/bzImage ;;
esac
! grep -q '=m$' "$build/.config" || all+=(modules)
# How much a partial build has to make is not known.
[ ! -f "$build/started" ] || steps=0
touch "$build/started"
log "building kernel $name ($(kmake -s kernelrelease))"
if ! kmake -j"$IMQ_JOBS" "${all[@]}" {IMQ_LOCK_FD}>&- 2>&1 |
		progress "kernel $name" "$steps" "$build/build.log"; then
	show_errors "$build/build.log"
	die "$name: build failed, log: $build/build.log"
fi
# The result: apart from the build directory, which the next build changes.
tmp=$out.tmp.$$
rm -rf "$tmp"
mkdir -p "$tmp/lib/modules"
cp "$build/$image" "$tmp/"
cp "$build/.config" "$tmp/config"
cp "$build/build.log" "$tmp/"
if grep -q '=m$' "$build/.config"; then
	kmake -s INSTALL_MOD_PATH="$tmp" INSTALL_MOD_STRIP=1 modules_install >>"$tmp/build.log" 2>&1 ||
		die "$name: modules_install failed, log: $tmp/build.log"
	rm -f "$tmp"/lib/modules/*/build "$tmp"/lib/modules/*/source
fi
kmake -s kernelrelease >"$tmp/release"
rm -rf "$out"
mv -T "$tmp" "$out"
# Keep the latest results of this configuration: of smp, not of smp-debug.
keep_latest "$keep" "$IMQ_CACHE/kernels" "$result-????????????"
echo "$out"
