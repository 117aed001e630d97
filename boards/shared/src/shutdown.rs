//! The end of a run that was asked for.

use crate::{fault, network};

/// Leaves the network, so that the access point lets the next run in at once, and starts the chip over.
pub(crate) async fn restart() -> ! {
    network::leave().await;
    fault::restart()
}
