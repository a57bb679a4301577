use tracing::{info, warn};

use crate::logical::Notice;

/// Fields keep their names in a log of JSON lines only as one text: their names are known when it runs.
pub(super) fn log(notice: &Notice) {
    let fields: Vec<String> = notice.fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let (message, fields) = (&notice.message, fields.join(" "));
    match (notice.alarm, fields.is_empty()) {
        (true, true) => warn!("{message}"),
        (true, false) => warn!("{message} {fields}"),
        (false, true) => info!("{message}"),
        (false, false) => info!("{message} {fields}"),
    }
}
