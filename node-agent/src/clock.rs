//! Time, as the agent sees it. Leases run on a clock that nobody sets and that goes on while the machine sleeps; the wall
//! clock serves timestamps and the validity of signatures alone. Simulations and tests bring a clock of their own.

use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use rustix::{
    fd::OwnedFd,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    },
};
use tokio::io::unix::AsyncFd;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// Since a moment in the past that stays the same; never goes back.
    fn now(&self) -> Duration;
    /// For timestamps, and for the validity of signatures.
    fn wall(&self) -> SystemTime;
    /// Returns once `now` is `at` or later.
    fn until(&self, at: Duration) -> BoxFuture<'static, ()>;
}

/// Nanoseconds since 1970-01-01 UTC; 0 for a clock that stands before.
pub fn wall_ns(clock: &dyn Clock) -> u64 {
    let since = clock.wall().duration_since(SystemTime::UNIX_EPOCH);
    since
        .unwrap_or_default()
        .as_nanos()
        .try_into()
        .unwrap_or(u64::MAX)
}

/// This machine's clock: CLOCK_BOOTTIME, which counts the time that the machine sleeps.
pub struct Machine;

/// How long to wait at a time when the system has no timer left; a machine that slept is noticed that late.
const STEP: Duration = Duration::from_secs(1);

impl Clock for Machine {
    fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        // Both are positive, and the second is below 10⁹.
        let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
        Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), nanos)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn until(&self, at: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while Self.now() < at {
                let left = at.saturating_sub(Self.now());
                match timer(at) {
                    Ok(timer) => {
                        // It can be read once the moment has come. Should the wait fail, the loop looks again.
                        if timer.readable().await.is_err() {
                            tokio::time::sleep(left.min(STEP)).await;
                        }
                    }
                    Err(_) => tokio::time::sleep(left.min(STEP)).await,
                }
            }
        })
    }
}

/// A timer that can be read from `at` on.
fn timer(at: Duration) -> std::io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let once = Itimerspec {
        it_interval: zero,
        it_value: Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
    // What replaces it is unsafe, for the sake of objects that give their descriptor away; this one owns it and keeps it.
    #[expect(deprecated)]
    AsyncFd::new(timer)
}

/// The clock of the tokio runtime that it is made and used in, which a test or a simulation may have paused. `wall` starts where
/// it is told to and goes on at the same pace.
pub struct TokioClock {
    start: tokio::time::Instant,
    wall: SystemTime,
}

impl TokioClock {
    /// Its `now` is zero at this moment.
    pub fn new(wall: SystemTime) -> Self {
        Self {
            start: tokio::time::Instant::now(),
            wall,
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.wall + self.now()
    }

    fn until(&self, at: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.start + at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_machines_clock_wakes_at_the_moment_and_not_before() {
        let at = Machine.now() + Duration::from_millis(30);
        Machine.until(at).await;
        let now = Machine.now();
        assert!(
            now >= at && now < at + Duration::from_secs(5),
            "{now:?} {at:?}"
        );
        Machine.until(at).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_goes_as_far_as_it_is_waited_for() {
        let clock = TokioClock::new(SystemTime::UNIX_EPOCH);
        clock.until(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().as_secs(), 3600);
        assert_eq!(wall_ns(&clock) / 1_000_000_000, 3600);
    }
}
