//! Notifications: what became of them, once more, and a test of the way.

use futures_util::future::join_all;
use jiff::Timestamp;
use meshprobe_proto::v1;

use super::{Api, ApiError, page, views};
use crate::{
    outbox::{OutboxHandle, Record, Retried, Tested},
    store::{Notification, NotificationState},
};

impl Api {
    /// A page of notifications, newest first.
    pub fn list_notifications(
        &self,
        request: &v1::ListNotificationsRequest,
    ) -> Result<v1::ListNotificationsResponse, ApiError> {
        let v1::ListNotificationsRequest {
            states,
            receiver,
            page_size,
            page_token,
        } = request;
        let states = states
            .iter()
            .map(|number| state(*number))
            .collect::<Result<Vec<_>, _>>()?;
        let (size, before) = (page::size(*page_size), page::number(page_token)?);
        let wanted = |record: &Record| {
            (states.is_empty() || states.contains(&record.state))
                && (receiver.is_empty() || record.notification.receiver == *receiver)
        };
        // One more than asked for tells whether there is a next page.
        let mut found = self.ledger.page(before, wanted, size + 1);
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => page::number_token(last.number),
            _ => String::new(),
        };
        Ok(v1::ListNotificationsResponse {
            notifications: found.iter().map(view).collect(),
            next_page_token,
        })
    }

    /// Tries a notification now that waits or was given up.
    pub async fn retry_notification(
        &self,
        request: v1::RetryNotificationRequest,
    ) -> Result<v1::RetryNotificationResponse, ApiError> {
        let v1::RetryNotificationRequest { receiver, id } = request;
        for (field, value) in [("receiver", &receiver), ("id", &id)] {
            if value.is_empty() {
                return Err(ApiError::Invalid(format!("{field} is missing")));
            }
        }
        let outbox = self.outbox()?;
        match outbox.retry(receiver.clone(), id.clone()).await {
            Retried::Now | Retried::InFlight => {}
            Retried::Done => {
                return Err(ApiError::Precondition(format!(
                    "{receiver} has {id} already; only what waits or was given up can be tried again"
                )));
            }
            Retried::NoReceiver => {
                return Err(ApiError::Precondition(format!(
                    "the receiver {receiver} is no longer configured"
                )));
            }
            Retried::Unknown => {
                return Err(ApiError::NotFound(format!(
                    "no notification to {receiver} has the id {id}; the oldest ones are forgotten"
                )));
            }
        }
        let record = self.ledger.one(&receiver, &id);
        Ok(v1::RetryNotificationResponse {
            notification: record.as_ref().map(view),
        })
    }

    /// Sends a test to one receiver, or to all of them, and waits for the answers.
    pub async fn send_test_notification(
        &self,
        request: v1::SendTestNotificationRequest,
    ) -> Result<v1::SendTestNotificationResponse, ApiError> {
        let known = self.audience.borrow().receivers.clone();
        let names = if request.receiver.is_empty() {
            known
        } else if known.contains(&request.receiver) {
            vec![request.receiver]
        } else {
            return Err(ApiError::NotFound(format!(
                "no receiver is called {:?}; there are: {}",
                request.receiver,
                known.join(", ")
            )));
        };
        if names.is_empty() {
            return Err(ApiError::Precondition(
                "no receiver is configured; add one under `receivers`".to_owned(),
            ));
        }
        let outbox = self.outbox()?;
        let tests = names.into_iter().map(|receiver| {
            let outbox = outbox.clone();
            async move {
                let tested = outbox.test(receiver.clone()).await;
                tested.map_or(Err(ApiError::Stopping), |tested| Ok(test(receiver, tested)))
            }
        });
        let tests = join_all(tests).await;
        Ok(v1::SendTestNotificationResponse {
            tests: tests.into_iter().collect::<Result<_, _>>()?,
        })
    }

    fn outbox(&self) -> Result<OutboxHandle, ApiError> {
        self.outbox.upgrade().ok_or(ApiError::Stopping)
    }
}

fn test(receiver: String, tested: Tested) -> v1::NotificationTest {
    let Tested {
        id,
        delivered,
        answer,
    } = tested;
    v1::NotificationTest {
        receiver,
        id,
        delivered,
        answer,
    }
}

fn state(number: i32) -> Result<NotificationState, ApiError> {
    match v1::NotificationState::try_from(number) {
        Ok(v1::NotificationState::Pending) => Ok(NotificationState::Pending),
        Ok(v1::NotificationState::Delivered) => Ok(NotificationState::Delivered),
        Ok(v1::NotificationState::Dead) => Ok(NotificationState::Dead),
        Ok(v1::NotificationState::Digested) => Ok(NotificationState::Digested),
        Ok(v1::NotificationState::Unspecified) | Err(_) => Err(ApiError::Invalid(format!(
            "{number} is no state of a notification"
        ))),
    }
}

fn view(record: &Record) -> v1::Notification {
    let Record {
        number: _,
        notification,
        state,
        finished_at_millis,
    } = record;
    let Notification {
        id,
        receiver,
        message,
        created_at_millis,
        queued_at_millis: _,
        attempts,
        next_attempt_millis,
        last_answer,
    } = notification;
    let at = |millis: i64| {
        let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
        views::timestamp(at)
    };
    v1::Notification {
        id: id.clone(),
        receiver: receiver.clone(),
        incident_id: message
            .incident()
            .map(|incident| incident.id.to_string())
            .unwrap_or_default(),
        kind: message.kind().to_owned(),
        title: message.title(),
        summary: message.summary(),
        state: views::notification_state(*state).into(),
        created_at: Some(at(*created_at_millis)),
        finished_at: finished_at_millis.map(at),
        attempts: *attempts,
        next_attempt_at: (*state == NotificationState::Pending).then(|| at(*next_attempt_millis)),
        last_answer: last_answer.clone().unwrap_or_default(),
    }
}
