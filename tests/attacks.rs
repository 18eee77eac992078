//! Published holes of other gateways, each tried here by its name: raw bytes to the real program, and every byte recorded that
//! arrives behind it. What is refused was seen by nobody, and the next request passes.
//!
//! `docs/threat-model.md` says what holds against whom, and names the test of each.
mod caches;
mod identity;
mod keys;
mod messages;
mod paths;
mod responses;
mod side_doors;
mod tokens;

use crate::support::{
    attack::{self, Trace},
    client::request_bytes,
    fixture::{House, good_bearer},
};

/// One route of every kind; only `admin` asks for more than a token.
const ROUTES: &str = r#"
  - {name: after, path: /after, auth: none, upstream: echo}
  - {name: health, path: /health, auth: none, respond: {status: 204}}
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: exact, path: /exact, auth: none, upstream: echo}
  - {name: optional, path_prefix: /optional, auth: optional, upstream: echo}
  - {name: orders, path_prefix: /orders, upstream: echo}
  - {name: admin, path_prefix: /admin, require: {roles: [admin]}, upstream: echo}
"#;

fn house() -> House {
    House::start("", ROUTES)
}

/// An attack, as bytes.
struct Attack {
    /// Whose hole it was, and what it is.
    hole: &'static str,
    bytes: Vec<u8>,
}

impl Attack {
    fn new(hole: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { hole, bytes: bytes.into() }
    }

    /// A GET without a token.
    fn get(hole: &'static str, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::new(hole, request_bytes("GET", target, headers))
    }

    /// A GET with a token that passes wherever no more is asked for.
    fn with_token(hole: &'static str, target: &str, headers: &[(&str, &str)]) -> Self {
        let authorization = good_bearer();
        let mut headers = headers.to_vec();
        headers.push(("Authorization", &authorization));
        Self::get(hole, target, &headers)
    }

    fn send(&self, house: &House) -> Trace {
        let trace = attack::send(house, self.hole, &self.bytes);
        trace.assert_nothing_is_smuggled(self.hole);
        trace
    }
}

/// Every attack must be refused so.
#[track_caller]
fn check_refused(house: &House, status: u16, reason: &str, attacks: &[Attack]) {
    for attack in attacks {
        attack.send(house).assert_refused(attack.hole, status, reason);
    }
}
