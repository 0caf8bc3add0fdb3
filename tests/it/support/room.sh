# Process 1 of a room, in namespaces of its own. Called by room.rs:
#   room.sh ROOT SHARE_ON_HOST SHARE_INSIDE CGROUPS BOOT_ID_FILE
set -eu
root=$1 share=$2 mounted=$3 cgroups=$4 boot_id=$5

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount --bind "$root/dev/pts/ptmx" "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
# As systemd does on a real machine.
mount -t tracefs -o nosuid,nodev,noexec tracefs "$root/sys/kernel/tracing"
mount --bind "$boot_id" "$root/proc/sys/kernel/random/boot_id"

case $cgroups in
none) ;;
unified) mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup" ;;
read-only) mount -t cgroup2 -o ro,nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup" ;;
hybrid)
    mount -t tmpfs -o mode=0755 tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/unified"
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup/unified"
    ;;
esac

mkdir -p "$root/$mounted"
mount --bind "$share" "$root/$mounted"
hostname ci-1
ip link set lo up

# pivot_root rather than chroot: /proc/self/mountinfo then holds the room's mounts and no others,
# and the host's mounts are not kept busy by the room.
mkdir "$root/run/host"
cd "$root"
pivot_root . run/host
umount -l /run/host
rmdir /run/host

# Orphans come to process 1. The kernel itself buries those whose parent ignores SIGCHLD, so cat will do: not a shell,
# whose commands would show up where bash is watched. Its input is the test's lifeline: end of file, end of room.
echo ready
exec env --ignore-signal=CHLD cat
