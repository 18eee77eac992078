//! Tells the service manager how the process is: ready, reloading, stopping, alive. Where no manager listens
//! (`NOTIFY_SOCKET` unset) it does nothing, and it never stops anything: what cannot be told is a warning in the log.
use std::time::Duration;

use sd_notify::NotifyState;

/// The service is up: listeners are bound and every issuer was tried. Also ends a reload.
///
/// `status` is one line for people, shown by `systemctl status`.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// A reload has begun; [`ready`] ends it, whether it was accepted or not.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // Both in one message: newer managers take the time of the reload from it and count it as failed without.
        Ok(moment) => notify(&[NotifyState::Reloading, moment]),
        Err(error) => log::warn!("the service manager was not told of the reload: no monotonic clock: {error}"),
    }
}

/// The service is draining and will end.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

/// Another process of the service is the one to ask, to watch and to stop from now on.
pub fn main_process(process: u32) {
    notify(&[NotifyState::MainPid(process)]);
}

/// One line for people, shown by `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(&one_line(status))]);
}

/// The process is alive: to be sent more often than [`watchdog_interval`], and only after it was seen to work.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How long the service manager waits for [`alive`] before it restarts the process; `None` when it does not watch.
///
/// Its own advice is to speak at half of that.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("the service manager was not told: {error}");
    }
}

/// A message is lines of `NAME=value`: a line break in the status would begin another assignment.
fn one_line(status: &str) -> String {
    status.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::{alive, ready, reloading, status, stopping, watchdog_interval};
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;
    use std::time::Duration;

    /// The environment of a process is not changed under its threads: this test is also the program that the next one
    /// starts with the service manager's variables.
    #[test]
    fn nothing_happens_where_no_service_manager_listens() {
        ready("serving 3 routes\nMAINPID=1");
        status("one issuer without keys");
        alive();
        reloading();
        stopping("draining");
        if std::env::var_os("NOTIFY_SOCKET").is_none() && std::env::var_os("WATCHDOG_USEC").is_none() {
            assert_eq!(watchdog_interval(), None);
        } else {
            assert_eq!(watchdog_interval(), Some(Duration::from_secs(30)));
        }
    }

    #[test]
    fn the_service_manager_hears_each_state_in_one_message() {
        let path = std::env::temp_dir().join(format!("portcullis-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "edge::systemd::tests::nothing_happens_where_no_service_manager_listens"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");

        let heard = || {
            let mut buffer = [0_u8; 512];
            let bytes = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..bytes].to_vec()).unwrap()
        };
        assert_eq!(heard(), "READY=1\nSTATUS=serving 3 routes MAINPID=1\n");
        assert_eq!(heard(), "STATUS=one issuer without keys\n");
        assert_eq!(heard(), "WATCHDOG=1\n");
        let reload = heard();
        let moment = reload.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(moment.trim_end().parse::<u64>().unwrap() > 0, "{reload}");
        assert_eq!(heard(), "STOPPING=1\nSTATUS=draining\n");
    }
}
