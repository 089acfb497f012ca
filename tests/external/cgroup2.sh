#!/usr/bin/env bash
# Runs the daemon in a kernel of its own: groups of cgroup v2 with limits of their own, memory.high among them, and a
# clock that can be set. Neither needs privileges or changes anything on this machine.
#
# The kernel is Debian's user-mode-linux, an ordinary process, whose package is unpacked and not installed. It sees the
# files of this machine, runs cgroup2/init as its first process, and that runs cgroup2/cases. It has one CPU, and its
# clock ticks every 10 ms. It exists for x86-64 only.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly MEMORY=512M MOST_SECONDS=150

find_kernel() {
  local machine
  machine=$(uname -m)
  [[ $machine == x86_64 ]] || not_run "user-mode-linux runs on x86-64 only, not on $machine"
  kernel=$(command -v linux.uml) && return
  unpack_package user-mode-linux
  kernel=$scratch/debian/usr/bin/linux.uml
  [[ -x $kernel ]] ||
    not_run "Debian's package user-mode-linux cannot be had: $(tail -n 1 "$scratch/user-mode-linux.log")"
}

# The package is older than some CPUs.
build_shim() {
  cc -O2 -shared -fPIC -o "$scratch/xstate.so" "$EXTERNAL/cgroup2/xstate.c" 2>"$scratch/cc.log" ||
    not_run "cgroup2/xstate.c cannot be compiled: $(tail -n 1 "$scratch/cc.log")"
}

# Boots the kernel for the cases; its first process leaves their output and their exit status in $job.
boot() {
  local job=$scratch/job
  mkdir "$job"
  printf '%s\n' "$daemon" >"$job/daemon"
  # Where its memory is kept, the kernel finds out best by itself.
  env -u TMPDIR -u TMP -u TEMP LD_PRELOAD="$scratch/xstate.so" timeout -k 5 "$MOST_SECONDS" "$kernel" \
    mem="$MEMORY" root=/dev/root rootfstype=hostfs rootflags=/ rw quiet con=null con0=null,fd:1 \
    uml_dir="$job" umid=kernel init="$EXTERNAL/cgroup2/init" "job=$job" >"$job/console" 2>&1
  if [[ ! -e $job/booted ]]; then
    tail -n 20 "$job/console"
    not_run "user-mode-linux does not boot here; its last words are above"
  fi
  cat "$job/output"
  [[ -s $job/status ]] && return "$(<"$job/status")"
  echo "FAILED the kernel ended before the cases did; its last words:"
  tail -n 20 "$job/console"
  return 1
}

find_kernel
build_shim
build_daemon
boot
