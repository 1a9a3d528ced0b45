//! Keys of all kinds, made as an admin makes them.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Answer, TestGateway};

/// Where keys are.
pub const KEYS: &str = "/api/v1/keys";

/// A key that was made.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: String,
    pub key: String,
}

/// Makes the key that `body` asks for.
pub async fn make(gw: &TestGateway, body: Value) -> Made {
    let made = Answer::of(gw.request(Method::POST, KEYS).json(&body)).await.expect_status(201).json();
    let text = |member: &str| made[member].as_str().unwrap().to_owned();
    Made { id: text("id"), key: text("key") }
}

/// Makes a key of a role, called as the role is.
pub async fn of_role(gw: &TestGateway, role: &str) -> Made {
    make(gw, json!({"name": role, "role": role})).await
}

impl Made {
    /// A request with this key.
    pub fn request(&self, gw: &TestGateway, method: Method, path: &str) -> RequestBuilder {
        gw.anonymous(method, path).bearer_auth(&self.key)
    }

    /// GET with this key.
    pub async fn get(&self, gw: &TestGateway, path: &str) -> Answer {
        Answer::of(self.request(gw, Method::GET, path)).await
    }

    /// Invokes `run` with this key.
    pub async fn invoke(&self, gw: &TestGateway, module: &str) -> Answer {
        let path = format!("/api/v1/wasm/modules/{module}/invoke");
        Answer::of(self.request(gw, Method::POST, &path).json(&json!({"input": 1}))).await
    }
}
