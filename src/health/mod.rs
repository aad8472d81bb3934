//! Results → verdicts. Pure: takes `now`, returns events.
//!
//! | file | what it is |
//! |---|---|
//! | `failure` | why a request failed: whose fault, which status, whether to try again |
//! | `judge` | one upstream: counts in, events out; `case` is one endpoint before it |
//! | `outlier` | which endpoints do worse than they should |
//! | `governor` | how much may be taken out of service |
//! | `probation` | how an endpoint is given its traffic, again or at first |
//! | `breaker` | when an upstream takes no requests |
//! | `window` | what was counted lately |
//! | `limits`, `memory`, `pace`, `age` | who is let in, what is given up, who is too slow, what is old |

mod age;
pub mod breaker;
mod case;
pub mod failure;
pub mod governor;
mod judge;
pub mod limits;
pub mod memory;
pub mod outlier;
mod pace;
pub mod probe;
pub mod probation;
mod window;

pub use age::is_old;
pub use breaker::BreakerSettings;
pub use case::{Case, Operation, ProbeVerdict};
pub use failure::Failure;
pub use judge::{Event, HealthSettings, Judge, Sight};
pub use limits::Rate;
pub use outlier::OutlierSettings;
pub use pace::{Pace, PaceRule, Slow};
pub use probation::{Curve, ReturnSettings};
pub use window::Window;
