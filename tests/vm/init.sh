#!/busybox sh
# First program of the VM: the host's file system, read-only, below one in memory; then guest.sh of this folder.
b=/busybox
$b mkdir -p /proc /sys /dev /host /memory /root
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
exec >/dev/console 2>&1
for word in $($b cat /proc/cmdline); do
  case $word in
    plt.modules=*) modules=${word#*=} ;;
    plt.job=*) job=${word#*=} ;;
    plt.guest=*) guest=${word#*=} ;;
  esac
done
$b insmod /overlay.ko
$b mount -t virtiofs -o ro host /host
$b mount -t tmpfs -o mode=755 memory /memory
$b mkdir /memory/upper /memory/work
$b mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root
$b mkdir -p /root/lib/modules
$b mount --bind "/host$modules" /root/lib/modules
for folder in proc sys dev; do $b mount --move /$folder /root/$folder; done
exec $b switch_root /root /bin/bash "$guest" "$job"
