//! Standard Webhooks: `webhook-signature: v1,base64(HMAC-SHA256(secret, "{id}.{timestamp}.{body}"))`.
//!
//! With two secrets both signatures are sent, so that receivers can change theirs at any moment of a rotation.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

use crate::config::Secret;

/// The idempotency key of the message.
pub const HEADER_ID: &str = "webhook-id";
/// When this attempt was made, seconds since the Unix epoch.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// The signatures, separated by a space.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

/// Signs with every secret in force.
#[derive(Clone, Debug, Default)]
pub struct Signer {
    keys: Vec<hmac::Key>,
}

impl Signer {
    /// Signs with these secrets; none: nothing is signed.
    pub fn new(secrets: &[Secret]) -> Self {
        Self {
            keys: secrets
                .iter()
                .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
                .collect(),
        }
    }

    /// The value of [`HEADER_SIGNATURE`]; `None` without a secret.
    pub fn sign(&self, id: &str, timestamp_seconds: u64, body: &[u8]) -> Option<String> {
        if self.keys.is_empty() {
            return None;
        }
        let signatures: Vec<String> = self
            .keys
            .iter()
            .map(|key| {
                let mut context = hmac::Context::with_key(key);
                context.update(id.as_bytes());
                context.update(b".");
                context.update(timestamp_seconds.to_string().as_bytes());
                context.update(b".");
                context.update(body);
                format!("v1,{}", STANDARD.encode(context.sign()))
            })
            .collect();
        Some(signatures.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // The example of the Standard Webhooks specification.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer::new(&[Secret::new(secret)]);
        let signature = signer.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn during_a_rotation_both_secrets_sign() {
        let (new, old) = (
            Secret::new(b"new secret 12345".to_vec()),
            Secret::new(b"old secret 12345".to_vec()),
        );
        let both = Signer::new(&[new.clone(), old.clone()])
            .sign("id", 1, b"x")
            .unwrap();
        let alone = |secret: &Secret| {
            Signer::new(std::slice::from_ref(secret))
                .sign("id", 1, b"x")
                .unwrap()
        };
        assert_eq!(both, format!("{} {}", alone(&new), alone(&old)));
        assert_eq!(Signer::default().sign("id", 1, b"x"), None);
    }
}
