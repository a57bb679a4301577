//! Waiting for a condition: never for a time alone.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Between two looks. Short beside everything that is waited for.
const INTERVAL: Duration = Duration::from_millis(5);

/// Asks until there is an answer. `what` completes the sentence "… did not come to be within 5s".
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return Ok(answer);
        }
        if start.elapsed() >= within {
            bail!("{what} did not come to be within {within:?}");
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_asked_until_it_holds() {
        let mut asked = 0;
        let answer = wait_for("the third time", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some("held")
        });
        assert_eq!(answer.unwrap(), "held");
    }

    #[test]
    fn a_deadline_names_what_was_waited_for() {
        let error = wait_for("a miracle", Duration::ZERO, || None::<()>).unwrap_err();
        assert_eq!(error.to_string(), "a miracle did not come to be within 0ns");
    }
}
