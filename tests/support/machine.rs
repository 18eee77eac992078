//! A machine of its own: namespaces for files, processes, network and control groups, with systemd as the first process. What is
//! tried there reads and changes the files of this machine in a layer that is thrown away, users, units and firewall included.
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{folder::Folder, gateway::BINARY, peers, process};

/// How long a script may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What must be there.
const PROGRAMS: [&str; 8] = ["unshare", "nft", "ip", "setpriv", "useradd", "curl", "chroot", "systemd-analyze"];
const FILES: [&str; 2] = ["/lib/systemd/systemd", "/usr/bin/python3"];

/// In a mount namespace: a control group of its own, then everything else that is its own.
const START: &str = r#"
set -e
mkdir groups disk root
mount --make-rprivate /
mount -t cgroup2 none groups
mkdir "groups/$2"
echo $$ > "groups/$2/cgroup.procs"
exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net sh boot "$1"
"#;

/// The files: a layer above this machine's. No unit of this machine is started but those that are asked for.
const BOOT: &str = r#"
set -e
folder=$PWD
mount -t tmpfs tmpfs disk
mkdir disk/upper disk/work
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/disk/upper,workdir=$folder/disk/work" root
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p ".$folder"
mount --bind "$folder" ".$folder"
touch usr/bin/portcullis
mount --bind "$1" usr/bin/portcullis
rm -rf lib/systemd/system-generators etc/systemd/system lib/systemd/system/*.wants
mkdir -p etc/systemd/system
cp "$folder"/shipped/* etc/systemd/system/
: > etc/fstab
cat > etc/systemd/system/script.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin
WorkingDirectory=$folder
ExecStart=/bin/sh -eu $folder/script
StandardOutput=file:$folder/output
StandardError=file:$folder/errors
ExecStopPost=/bin/sh -c 'echo \$EXIT_STATUS > $folder/status; systemctl --no-block exit'
END
cat > etc/systemd/system/script.target <<END
[Unit]
DefaultDependencies=no
Wants=script.service
END
ip link set lo up
container=test exec chroot . /lib/systemd/systemd --system --unit=script.target --log-target=null --show-status=0
"#;

/// What scripts may call.
const WORDS: &str = r#"
# What a command prints as one line of the report: `report NAME COMMAND...`
report() { name=$1; shift; printf '%s: %s\n' "$name" "$("$@" 2>&1 | tr '\n' ' ' | sed 's/ *$//')"; }
# As a user, with the groups that they are in.
as() { user=$1; shift; setpriv --reuid "$user" --regid "$user" --init-groups "$@"; }
# The status and the body, or that there is no connection (7: refused or not allowed, 28: nobody answers).
ask() { curl -sS -g --max-time 5 --noproxy '*' -w ' %{http_code}' "$@" 2>/dev/null || printf 'curl %s' "$?"; }
"#;

/// A machine that is not started yet.
pub(crate) struct Machine {
    folder: Folder,
}

/// What became of a script.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its report.
    pub(crate) output: String,
    /// What else it said.
    pub(crate) errors: String,
}

impl Outcome {
    /// What the line of this name says.
    #[track_caller]
    pub(crate) fn of(&self, name: &str) -> &str {
        let line = self.output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no line {name:?}: {self:?}"))
    }
}

impl Machine {
    /// One with nothing but the units that are shipped; `None`, said on standard error, where this machine cannot be divided and
    /// that is not demanded.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return peers::missing("the user root", test);
        }
        for program in PROGRAMS {
            peers::require_program(program, test)?;
        }
        for file in FILES {
            peers::require_file(file, test)?;
        }
        let machine = Self { folder: Folder::new() };
        for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            machine.folder.write(&format!("shipped/{name}"), fs::read(&path).unwrap());
        }
        let probe = "exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net true";
        let probed = process::run("unshare", Command::new("sh").args(["-c", probe]));
        if probed.code() != Some(0) {
            return peers::missing("namespaces", test);
        }
        Some(machine)
    }

    /// A file that is there under the same path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.folder.write(name, content)
    }

    /// Where files are.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, runs a script of the shell as root, and ends it. The script has [`WORDS`], and must succeed.
    #[track_caller]
    pub(crate) fn run(self, script: &str) -> Outcome {
        let folder = self.folder.path();
        for (name, content) in [("start", START), ("boot", BOOT), ("script", &format!("{WORDS}{script}"))] {
            self.folder.write(name, content);
        }
        let group = folder.file_name().unwrap().to_str().unwrap();
        let mut command = Command::new("unshare");
        command.current_dir(folder).args(["--mount", "sh", "start", BINARY, group]);
        let account = process::run_within(PATIENCE, "machine", &mut command);
        let remove = format!(
            "mount --make-rprivate / && mount -t cgroup2 none groups && find groups/{group} -depth -type d -exec rmdir {{}} +"
        );
        process::run("unshare", Command::new("unshare").current_dir(folder).args(["--mount", "sh", "-c", &remove]));
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let outcome = Outcome { output: read("output"), errors: read("errors") };
        assert_eq!(read("status").trim(), "0", "{outcome:?} {account:?}");
        outcome
    }
}
