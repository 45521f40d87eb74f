# machine.sh INIT DIR COMMAND...: COMMAND becomes process 1 of a machine of its own, in namespaces: what it writes outside of DIR goes
# to memory, its network is one loopback device, and all of it ends with this script. `ready PID` is printed before COMMAND starts,
# with the process number that it has outside. INIT is `systemd` where COMMAND is one, which gets a control group of its own.
set -eu
init=$1 dir=$2

if [ -z "${STAGE:-}" ]; then
    group= child=
    if [ "$init" = systemd ]; then
        # Not below the folder: a mount ends when somebody outside removes what it stands on.
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        here=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
        group=$here/midflight-test-$$
    fi
    finish() {
        [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
        if [ -n "$group" ] && [ -d "$group" ]; then
            echo $$ >"$here/cgroup.procs"
            # Its last processes are still ending.
            until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.05; done
        fi
        exit 0
    }
    trap finish TERM INT HUP
    if [ -n "$group" ]; then
        mkdir "$group"
        echo $$ >"$group/cgroup.procs"
    fi
    STAGE=inside unshare --cgroup --pid --mount --uts --ipc --net --propagation private --fork --kill-child sh "$0" "$@" &
    child=$!
    wait "$child" || true
    finish
fi

shift 2
# From the processes outside, while they are still to be seen.
read -r pid rest </proc/self/stat
ip link set lo up
hostname machine
space=$dir/space
mkdir -p "$space"
mount -t tmpfs -o mode=755 tmpfs "$space"
root=$space/root
mkdir "$space/written" "$space/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$space/written,workdir=$space/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
if [ "$init" = systemd ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
for place in run dev tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$place"; done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/sshd"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
# The server's keys and its log are where they are outside too.
mkdir -p "$root$dir"
mount --bind "$dir" "$root$dir"

# A person who may do nothing, and one who may become root.
for user in ann bea; do
    chroot "$root" useradd --create-home --shell /bin/sh "$user"
    chroot "$root" usermod --password '*' "$user"
done
mkdir -p "$root/etc/sudoers.d"
printf 'Defaults use_pty\nbea ALL=(ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/midflight-test"
chmod 0440 "$root/etc/sudoers.d/midflight-test"

if [ "$init" = systemd ]; then
    # Nothing of what this system starts else, and nothing that is a real machine's.
    units=$root/etc/systemd/system
    rm -rf "$units"
    mkdir -p "$units/multi-user.target.wants"
    for unit in dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
        sys-kernel-debug.mount sys-kernel-tracing.mount systemd-remount-fs.service systemd-tmpfiles-setup.service \
        systemd-tmpfiles-setup-dev.service systemd-sysctl.service systemd-sysusers.service systemd-modules-load.service \
        systemd-udevd.service systemd-udev-trigger.service systemd-update-utmp.service systemd-random-seed.service \
        systemd-journald-audit.socket systemd-logind.service getty.target; do
        ln -s /dev/null "$units/$unit"
    done
    printf '[Service]\nExecStart=/usr/sbin/sshd -D -f %s/sshd_config -E %s/log\n' "$dir" "$dir" >"$units/test-sshd.service"
    ln -s ../test-sshd.service "$units/multi-user.target.wants/test-sshd.service"
fi

cd "$root"
mkdir -p outside
pivot_root . outside
umount -l /outside
echo "ready $pid"
exec env -i container=midflight-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null >/dev/null 2>&1
