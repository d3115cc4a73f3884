//! The tokens of guest carts: who shows the right one may act on that cart. A token is a keyed hash of the cart's id, so
//! nothing of it is stored, and a repeated answer repeats it.
use crate::domain::ids::CartId;
use std::fmt;
use subtle::ConstantTimeEq;

/// Grows when every token shall become another one, as after a leak of the secret's derivatives.
const GENERATION: u32 = 1;

/// Makes and knows the tokens of one server's carts.
#[derive(Clone)]
pub(super) struct CartTokens([u8; 32]);

impl CartTokens {
    /// Under this secret.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// A cart's token: BLAKE3 keyed by the secret over what it is for, generation and id, as hexadecimal digits.
    pub(super) fn of(&self, cart: &CartId) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"holdfast cart token\0");
        hasher.update(&GENERATION.to_be_bytes());
        hasher.update(cart.as_str().as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// Whether `shown` is the cart's token. Takes the same time wherever it differs.
    pub(super) fn is_of(&self, cart: &CartId, shown: &str) -> bool {
        self.of(cart).as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for CartTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CartTokens(masked)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_carts_alone() {
        let cart = |id: &str| CartId::parse(id).unwrap();
        let tokens = CartTokens::new([7; 32]);
        let token = tokens.of(&cart("cart_1"));
        assert_eq!(
            token, "e0fa0693411557713efa839e57f140fcdd41f04e95a0835b7170ac59eb5b7385",
            "frozen: a new version takes the tokens of the old one"
        );
        assert!(tokens.is_of(&cart("cart_1"), &token));
        assert!(!tokens.is_of(&cart("cart_2"), &token), "another cart's");
        assert!(
            !CartTokens::new([8; 32]).is_of(&cart("cart_1"), &token),
            "another server's"
        );
        for shown in ["", &token[..63], &format!("{token}0"), &token.to_uppercase()] {
            assert!(!tokens.is_of(&cart("cart_1"), shown), "{shown}");
        }
        assert_eq!(format!("{tokens:?}"), "CartTokens(masked)");
    }
}
