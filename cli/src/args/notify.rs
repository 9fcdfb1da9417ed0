//! `meshprobe notify …`

use clap::{Subcommand, ValueEnum};
use meshprobe_proto::v1;

/// What to do about notifications.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// What became of notifications, newest first: what waits, what was given up, the newest that arrived.
    List {
        /// Only those in this state.
        #[arg(long, value_enum)]
        state: Vec<NotificationStateArg>,
        /// Only those to this receiver.
        #[arg(long)]
        receiver: Option<String>,
    },
    /// Send a message that says that it is a test, the way of every notification, and print the receiver's answer.
    Test {
        /// Its name in the configuration; `all` for every receiver.
        receiver: String,
    },
    /// Try a notification now that waits or was given up.
    Retry {
        /// Its id, or the beginning of it, as `notify list` shows it.
        id: String,
        /// Only to this receiver, if several have one with this id.
        #[arg(long)]
        receiver: Option<String>,
    },
}

/// How far a notification got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NotificationStateArg {
    /// It will be tried (again).
    Pending,
    /// It was given up.
    Failed,
    /// Its receiver has it.
    Delivered,
    /// It is part of a digest.
    Digested,
}

impl NotificationStateArg {
    /// As the API has it.
    pub fn wire(self) -> v1::NotificationState {
        match self {
            Self::Pending => v1::NotificationState::Pending,
            Self::Failed => v1::NotificationState::Dead,
            Self::Delivered => v1::NotificationState::Delivered,
            Self::Digested => v1::NotificationState::Digested,
        }
    }
}
