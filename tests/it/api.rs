use serde_json::json;

use crate::common::Daemon;

#[test]
fn an_idle_daemon_is_healthy_on_both_listeners() {
    let daemon = Daemon::start();
    for answer in [daemon.get("/health"), daemon.admin_get("/health")] {
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "healthy" }))
        );
    }
}
