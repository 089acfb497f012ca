//! Who may use the control API: holders of the token, and no page of another site.

pub(super) mod auth;
pub(super) mod browser;
pub(super) mod roles;
