//! Why a question has no answer, mapped once to each protocol.

use http::StatusCode;

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The question is malformed; the text says what to ask instead.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The question is right and cannot be asked that way.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// Too many clients watch already.
    #[error("{most} clients watch already; raise limits.watchers or close one")]
    TooManyWatchers {
        /// The limit.
        most: usize,
    },
    /// The client read more slowly than things changed.
    #[error("the client is {missed} changes behind; read the list again and watch from there")]
    Lagged {
        /// Changes that it did not get.
        missed: u64,
    },
    /// The question is right, and what it needs is not so now; the text says what.
    #[error("{0}")]
    Precondition(String),
    /// Too much of this is under way already.
    #[error("{0}")]
    Busy(String),
    /// Whoever would have to answer cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The answer did not come in time.
    #[error("{0}")]
    Deadline(String),
    /// Something that should not happen; the text says what.
    #[error("{0}")]
    Internal(String),
    /// The process is about to end.
    #[error("the aggregator is shutting down; ask again in a moment or ask another replica")]
    Stopping,
}

impl ApiError {
    /// The code of `google.rpc.Code`, which JSON answers carry as a word.
    pub fn code(&self) -> tonic::Code {
        match self {
            Self::Invalid(_) => tonic::Code::InvalidArgument,
            Self::NotFound(_) => tonic::Code::NotFound,
            Self::MethodNotAllowed(_) => tonic::Code::Unimplemented,
            Self::TooManyWatchers { .. } | Self::Busy(_) => tonic::Code::ResourceExhausted,
            Self::Lagged { .. } => tonic::Code::DataLoss,
            Self::Precondition(_) => tonic::Code::FailedPrecondition,
            Self::Deadline(_) => tonic::Code::DeadlineExceeded,
            Self::Internal(_) => tonic::Code::Internal,
            Self::Unreachable(_) | Self::Stopping => tonic::Code::Unavailable,
        }
    }

    /// The word of the code, as in `google.rpc.Code`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_ARGUMENT",
            Self::NotFound(_) => "NOT_FOUND",
            Self::MethodNotAllowed(_) => "METHOD_NOT_ALLOWED",
            Self::TooManyWatchers { .. } | Self::Busy(_) => "RESOURCE_EXHAUSTED",
            Self::Lagged { .. } => "DATA_LOSS",
            Self::Precondition(_) => "FAILED_PRECONDITION",
            Self::Deadline(_) => "DEADLINE_EXCEEDED",
            Self::Internal(_) => "INTERNAL",
            Self::Unreachable(_) | Self::Stopping => "UNAVAILABLE",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyWatchers { .. } | Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Lagged { .. } => StatusCode::GONE,
            Self::Precondition(_) => StatusCode::CONFLICT,
            Self::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unreachable(_) | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<crate::pipeline::MeshStopped> for ApiError {
    fn from(_: crate::pipeline::MeshStopped) -> Self {
        Self::Stopping
    }
}

impl From<crate::pipeline::PathError> for ApiError {
    fn from(error: crate::pipeline::PathError) -> Self {
        use crate::pipeline::PathError;
        match error {
            PathError::Stopped(_) => Self::Stopping,
            PathError::UnknownSource(_) | PathError::UnknownTarget(_) => {
                Self::NotFound(error.to_string())
            }
        }
    }
}

impl From<crate::pipeline::ProbeError> for ApiError {
    fn from(error: crate::pipeline::ProbeError) -> Self {
        use crate::pipeline::ProbeError;
        let text = error.to_string();
        match error {
            ProbeError::Invalid(_) => Self::Invalid(text),
            ProbeError::Unknown(_) => Self::NotFound(text),
            ProbeError::NotConnected { .. } | ProbeError::Gone(_) => Self::Unreachable(text),
            ProbeError::Busy(_) => Self::Busy(text),
            ProbeError::Refused { .. } => Self::Precondition(text),
            ProbeError::Timeout { .. } => Self::Deadline(text),
            ProbeError::Stopped(_) => Self::Stopping,
        }
    }
}
