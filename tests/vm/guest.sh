#!/bin/bash
# usage: guest.sh JOB: what a booted system would have set up, then JOB/command; its output and exit status leave by two serial ports.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ln -sfn /proc/self/fd /dev/fd
ip link set lo up
for port in /sys/class/virtio-ports/*; do
  case $(cat "$port/name") in
    output) output=/dev/${port##*/} ;;
    status) status=/dev/${port##*/} ;;
  esac
done
bash "$1/command" </dev/null >"$output" 2>&1
echo $? >"$status"
sync
echo o >/proc/sysrq-trigger
sleep 60
