//! The fields of every event, version by version, in the order in which they are written.
//!
//! They are never named on disk, only placed. A version is never changed, only followed by the next.

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, JobId, Seq, Timestamp, Token, WorkerId};
use crate::jobs::stored::BackoffFields;

#[derive(Serialize, Deserialize)]
pub struct EnqueueV1<'a>(
    pub Timestamp,
    pub JobId,
    pub &'a str,
    pub &'a str,
    pub &'a str,
    pub u8,
    /// Run at; 0 for at once.
    pub Timestamp,
    pub u64,
    pub u32,
);
#[derive(Serialize, Deserialize)]
pub struct EnqueueV2<'a>(
    pub Timestamp,
    pub JobId,
    pub &'a str,
    pub &'a str,
    pub &'a str,
    pub u8,
    pub Timestamp,
    pub u64,
    pub u32,
    pub BackoffFields,
    /// What becomes of it when exhausted.
    pub u8,
    #[serde(borrow)] pub Option<&'a str>,
    pub u32,
);
#[derive(Serialize, Deserialize)]
pub struct DispatchV1(pub Timestamp, pub JobId, pub WorkerId, pub Attempt, pub Timestamp);
#[derive(Serialize, Deserialize)]
pub struct AckV1<'a>(pub Timestamp, pub JobId, pub Token, #[serde(borrow)] pub Option<&'a str>);
#[derive(Serialize, Deserialize)]
pub struct FailV1<'a>(
    pub Timestamp,
    pub JobId,
    pub Token,
    pub u8,
    pub &'a str,
    pub Timestamp,
    #[serde(borrow)] pub Option<&'a str>,
    pub &'a str,
    pub Vec<String>,
);
#[derive(Serialize, Deserialize)]
pub struct RequeueV1<'a>(
    pub Timestamp,
    pub JobId,
    pub Token,
    pub u8,
    pub &'a str,
    pub bool,
    pub &'a str,
    pub Vec<String>,
);
#[derive(Serialize, Deserialize)]
pub struct DeadV1<'a>(
    pub Timestamp,
    pub JobId,
    pub Token,
    pub u8,
    pub &'a str,
    #[serde(borrow)] pub Option<&'a str>,
    pub &'a str,
    pub Vec<String>,
);
#[derive(Serialize, Deserialize)]
pub struct ReserveV1<'a>(pub Timestamp, pub JobId, pub &'a str, pub Attempt, pub Timestamp);
/// `KILL`, `RUN_NOW`, `DISCARD`, and `CANCEL`.
#[derive(Serialize, Deserialize)]
pub struct OfJobV1(pub Timestamp, pub JobId);
#[derive(Serialize, Deserialize)]
pub struct MoveV1<'a>(pub Timestamp, pub JobId, pub &'a str);
/// `PAUSE`, `RESUME`, `REMOVE_QUEUE`.
#[derive(Serialize, Deserialize)]
pub struct OfQueueV1<'a>(pub Timestamp, pub &'a str);
#[derive(Serialize, Deserialize)]
pub struct ExtendV1(pub Timestamp, pub JobId, pub Token, pub Timestamp);
#[derive(Serialize, Deserialize)]
pub struct PromoteV1(pub Timestamp, pub Timestamp, pub Seq);
#[derive(Serialize, Deserialize)]
pub struct DigestV1(pub Timestamp, pub u64);
#[derive(Serialize, Deserialize)]
pub struct ForgetV1(pub Timestamp, pub Seq, pub Seq, pub Seq);
