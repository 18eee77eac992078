//! One timer for all deadlines of a connection. It is made when something has to be waited for, and set again only when it
//! would ring too late: deadlines move with every request, and a timer that rings too early costs less than one that is
//! set each time.
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::time::Sleep;

/// The timer.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Whether a deadline has passed. Otherwise the task is woken when it does, if not before.
    pub(super) fn has_passed(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        while let Poll::Ready(()) = sleep.as_mut().poll(context) {
            if sleep.deadline() >= deadline {
                return true;
            }
            // It was set for an earlier deadline, which was met.
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;
    use crate::edge::clock;

    #[test]
    fn it_rings_at_the_deadline_asked_for_and_not_at_one_that_was_met() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::default();
            let start = clock::monotonic();
            let (short, long) = (start + Duration::from_millis(20), start + Duration::from_millis(60));
            // Another deadline before this one, and another behind it, were asked about first.
            for other in [start + Duration::from_secs(3600), short] {
                poll_fn(|context| {
                    let _ = alarm.has_passed(other, context);
                    Poll::Ready(())
                })
                .await;
            }
            poll_fn(|context| if alarm.has_passed(long, context) { Poll::Ready(()) } else { Poll::Pending }).await;
            assert!(clock::monotonic() >= long);
        });
    }
}
