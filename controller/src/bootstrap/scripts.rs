//! What runs on a host: POSIX sh, and the programs that every Linux system has. Scripts come by standard input, so that any login
//! shell will do and nothing shows in a list of processes; what is copied comes by standard input too. Paths hold nothing that
//! a shell reads anything into.

use crate::bootstrap::place::Place;
use crate::bootstrap::wanted::File;

/// The user that the agent runs as where it has one of its own, and its group.
pub const USER: &str = "midflight";
/// The service, and its file.
pub const UNIT: &str = "/etc/systemd/system/midflight-agent.service";
/// How a script ends that found bytes other than were sent.
pub const DAMAGED: u32 = 91;
/// How a script ends that found no program for SHA-256.
pub const NO_SUM: u32 = 92;

const SUM: &str = r#"set -u
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH
sum() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum <"$1" | cut -d' ' -f1
  elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r <"$1" | cut -d' ' -f1
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256 <"$1" | cut -d' ' -f1
  else exit 92; fi
}
"#;

/// What is there: the machine, who asks, which of the files, and what runs. [`crate::bootstrap::probe`] reads it.
#[must_use]
pub fn probe(place: &Place, paths: &[String]) -> String {
    let mut script = SUM.to_owned();
    script.push_str(
        r#"{ command -v sha256sum || command -v openssl || command -v shasum; } >/dev/null 2>&1 || exit 92
echo "machine $(uname -m)"
echo "user ${SUDO_USER:-$(id -un)}"
echo "uid $(id -u)"
if [ -d /run/systemd/system ]; then echo "systemd yes"; else echo "systemd no"; fi
look() {
  if [ -f "$1" ]; then
    s=$(sum "$1") || exit 93
    echo "file $1 ${s:-unreadable} $(ls -ld "$1" | cut -c1-10)"
  elif [ -e "$1" ]; then echo "other $1"; fi
}
"#,
    );
    for path in paths {
        script.push_str(&format!("look {path}\n"));
    }
    let (program, config) = (place.program(), place.config());
    script.push_str(&format!(
        r#"if [ -x {program} ] && [ -r {config} ]; then
  said=$({program} status --json --config {config} 2>/dev/null); code=$?
  case $code in
  0) echo "agent $said" ;;
  2) echo "agent none" ;;
  *) echo "agent unknown" ;;
  esac
else echo "agent none"; fi
pid=$(cat {pid} 2>/dev/null)
if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then echo "kept yes"; fi
if [ -d /run/systemd/system ] && systemctl is-active midflight-agent >/dev/null 2>&1; then echo "kept yes"; fi
echo end
"#,
        pid = place.pid
    ));
    script
}

/// How many bytes of a file have arrived before.
#[must_use]
pub fn arrived(file: &File) -> String {
    let partial = file.partial();
    format!("if [ -f {partial} ]; then wc -c <{partial}; else echo 0; fi\n")
}

/// The folders, and the agent's user.
#[must_use]
pub fn prepare(place: &Place) -> String {
    let Place {
        bin,
        etc,
        data,
        run,
        ..
    } = place;
    if !place.system {
        return format!("set -eu\nmkdir -p {bin} {etc} {run}\nmkdir -p -m 0700 {data}\n");
    }
    format!(
        r#"set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
if ! id -u {USER} >/dev/null 2>&1; then
  if command -v useradd >/dev/null 2>&1; then
    useradd --system --user-group --home-dir {data} --no-create-home --shell /bin/false {USER}
  else
    addgroup -S {USER} 2>/dev/null || true
    adduser -S -D -H -h {data} -s /bin/false -G {USER} {USER}
  fi
fi
mkdir -p {bin} {etc} {run} {data}
chown {USER}:{USER} {run} {data}
chmod 0755 {etc} {run}
chmod 0700 {data}
"#
    )
}

/// The command that takes bytes and adds them to what has arrived of a file. Its input is not a script.
#[must_use]
pub fn receive(file: &File) -> String {
    format!("sh -c 'umask 077; exec cat >>{}'", file.partial())
}

/// What has arrived becomes the file, if it is what was sent.
#[must_use]
pub fn install(place: &Place, file: &File, keep: bool) -> String {
    let (path, partial, mode) = (&file.path, file.partial(), file.mode);
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let owner = match (place.system, file.for_agent) {
        (false, _) => String::new(),
        (true, true) => format!("chown root:{USER} {partial}\n"),
        (true, false) => format!("chown root:root {partial}\n"),
    };
    // A name that exists is never taken over by a link.
    let into = match keep {
        true => format!("ln {partial} {path}"),
        false => format!("mv -f {partial} {path}"),
    };
    let digest = file.digest.hex();
    format!(
        r#"{SUM}set -e
got=$(sum {partial})
if [ "$got" != {digest} ]; then rm -f {partial}; echo "$got"; exit {DAMAGED}; fi
chmod {mode} {partial}
{owner}{into}
rm -f {folder}/.{name}.*.part
"#
    )
}

/// Starts the agent, or starts it again.
#[must_use]
pub fn start(place: &Place, systemd: bool) -> String {
    let check = format!(
        "{} --check --config {} || exit 1\n",
        place.program(),
        place.config()
    );
    if systemd {
        return check
            + "set -e\nsystemctl daemon-reload\nsystemctl enable midflight-agent >/dev/null\n\
                systemctl restart midflight-agent\n";
    }
    let Place { bin, log, pid, .. } = place;
    format!(
        r#"set -u
{check}pid=$(cat {pid} 2>/dev/null)
if [ -n "$pid" ] && kill -TERM "$pid" 2>/dev/null; then
  tries=0
  while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries -gt 60 ]; then echo "the agent does not end"; exit 1; fi
    sleep 1
  done
fi
nohup {bin}/midflight-agent-run </dev/null >>{log} 2>&1 &
"#
    )
}

/// Whether the agent answers: what `midflight-agent status --json` says, asked for up to 30 seconds. Then the end of its log.
#[must_use]
pub fn answers(place: &Place, systemd: bool) -> String {
    let (program, config) = (place.program(), place.config());
    let log = match systemd {
        // What the agent says, without what systemd says of it; where it did not even start, that alone.
        true => "journal() { journalctl -u midflight-agent \"$@\" -n 5 -q -o cat --no-pager 2>/dev/null; }\n\
                 said=$(journal -t midflight-agent)\n[ -n \"$said\" ] || said=$(journal)\necho \"$said\""
            .to_owned(),
        false => format!("tail -n 5 {}", place.log),
    };
    format!(
        r#"tries=0
while [ $tries -lt 120 ]; do
  if {program} status --json --config {config} 2>/dev/null; then exit 0; fi
  tries=$((tries + 1))
  sleep 0.25 2>/dev/null || sleep 1
done
{log}
exit 1
"#
    )
}

/// The service of systemd.
#[must_use]
pub fn unit(place: &Place) -> String {
    let (program, config, data) = (place.program(), place.config(), &place.data);
    format!(
        "# Written by midflight bootstrap.
[Unit]
Description=Midflight agent
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User={USER}
Group={USER}
ExecStart={program} --config {config}
RuntimeDirectory=midflight
RuntimeDirectoryMode=0755
Restart=on-failure
RestartSec=2
TimeoutStopSec=60
LimitNOFILE=1048576
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=
ReadWritePaths={data}

[Install]
WantedBy=multi-user.target
"
    )
}

/// What keeps the agent running where there is no systemd: starts it, and starts it again when it fails.
#[must_use]
pub fn runner(place: &Place) -> String {
    let (program, config, pid) = (place.program(), place.config(), &place.pid);
    let agent = match place.system {
        // Not every system has a program that does nothing else but change the user; each has su.
        true => {
            format!(
                "su -s /bin/sh {USER} -c 'exec {program} --config {config} --die-with-parent $PPID'"
            )
        }
        false => format!("{program} --config {config}"),
    };
    format!(
        r#"#!/bin/sh
# Written by midflight bootstrap. Runs the agent, and runs it again when it fails; TERM ends both.
echo $$ >{pid}
child=
trap 'trap "" TERM INT; [ -n "$child" ] && kill -TERM "$child"; wait "$child"; rm -f {pid}; exit 0' TERM INT
trap '' HUP
while :; do
  {agent} &
  child=$!
  wait "$child"
  code=$?
  child=
  [ $code -eq 0 ] && break
  echo "the agent ended with $code; it is started again in 2 seconds"
  sleep 2
done
rm -f {pid}
"#
    )
}
