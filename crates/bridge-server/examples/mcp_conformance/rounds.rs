//! Calls that need an answer of the client before they can go on: each round is a call of its own, and what lies between
//! them travels with the client.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, GetPromptRequestParams,
        GetPromptResponse, GetPromptResult, InputRequiredResult,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

use crate::fixture::{from_json, has, result};

/// Judges the rounds of a call.
#[derive(Default)]
pub(crate) struct Rounds {
    /// Whoever does not know it cannot make a state.
    secret: RandomState,
}

type Responses = BTreeMap<String, Value>;

/// A question with one field.
fn question(message: &str, field: &str, kind: &str) -> Value {
    json!({"method": "elicitation/create", "params": {
        "message": message,
        "requestedSchema": {"type": "object", "properties": {field: {"type": kind}}, "required": [field]},
    }})
}

fn sampling(text: &str, most: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}], "maxTokens": most,
    }})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

/// What was answered to a question.
fn answered<'a>(responses: &'a Responses, key: &str, field: &str) -> Option<&'a Value> {
    let response = responses.get(key)?;
    (response["action"] == "accept").then(|| response["content"].get(field)).flatten()
}

fn required(requests: Value, state: Option<String>) -> CallToolResponse {
    let requests: BTreeMap<String, _> = from_json(requests);
    CallToolResponse::InputRequired(InputRequiredResult::new(Some(requests), state))
}

fn done(text: impl Into<String>) -> CallToolResponse {
    CallToolResponse::Complete(result(json!({"content": [{"type": "text", "text": text.into()}]})))
}

impl Rounds {
    /// A state that only this server can have made.
    fn seal(&self, state: &str) -> String {
        format!("{state}.{:016x}", self.secret.hash_one(state))
    }

    /// The state that a client brought back, if this server made it.
    fn open<'a>(&self, sealed: Option<&'a str>) -> Result<&'a str, ErrorData> {
        sealed
            .and_then(|sealed| Some((sealed, sealed.rsplit_once('.')?.0)))
            .filter(|(sealed, state)| self.seal(state) == *sealed)
            .map(|(_, state)| state)
            .ok_or_else(|| ErrorData::invalid_params("the state was not made by this server", None))
    }

    pub(crate) fn call(
        &self,
        request: &CallToolRequestParams,
        cx: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let responses = request.input_responses.clone().unwrap_or_default();
        let asked_before = request.input_responses.is_some();
        let state = || self.open(request.request_state.as_deref());
        let capabilities = cx.client_capabilities().unwrap_or_default();
        let what = request.name.strip_prefix("test_input_required_result_").unwrap_or_default();
        Ok(match what {
            "elicitation" => match answered(&responses, "user_name", "name").and_then(Value::as_str) {
                Some(name) => done(format!("Hello, {name}!")),
                None => {
                    required(json!({"user_name": question("What is your name?", "name", "string")}), None)
                }
            },
            "sampling" => match responses.get("capital_question") {
                Some(answer) => done(answer["content"]["text"].as_str().unwrap_or("no text")),
                None => required(
                    json!({"capital_question": sampling("What is the capital of France?", 100)}),
                    None,
                ),
            },
            "list_roots" => match responses.get("client_roots") {
                Some(answer) => done(format!("The roots are {}", answer["roots"])),
                None => required(json!({"client_roots": roots()}), None),
            },
            "request_state" | "tampered_state" => {
                if asked_before || request.request_state.is_some() {
                    state()?;
                    done("state-ok")
                } else {
                    let confirm = question("Please confirm", "ok", "boolean");
                    required(json!({ "confirm": confirm }), Some(self.seal("confirm")))
                }
            }
            "multiple_inputs" => {
                if ["user_name", "greeting", "client_roots"].iter().all(|key| responses.contains_key(*key)) {
                    state()?;
                    done("All three are there")
                } else {
                    let requests = json!({
                        "user_name": question("What is your name?", "name", "string"),
                        "greeting": sampling("Generate a greeting", 50),
                        "client_roots": roots(),
                    });
                    required(requests, Some(self.seal("three")))
                }
            }
            "multi_round" => self.rounds(&responses, request.request_state.as_deref())?,
            "capabilities" => only_what_it_can(&capabilities),
            _ => return Err(ErrorData::invalid_params("there is no such tool", None)),
        })
    }

    /// Two questions, one after the other.
    fn rounds(&self, responses: &Responses, state: Option<&str>) -> Result<CallToolResponse, ErrorData> {
        if let Some(color) = answered(responses, "step2", "color") {
            let name = self.open(state)?;
            return Ok(done(format!("{name} likes {color}")));
        }
        if let Some(name) = answered(responses, "step1", "name").and_then(Value::as_str) {
            self.open(state)?;
            let next = question("Step 2: What is your favorite color?", "color", "string");
            return Ok(required(json!({ "step2": next }), Some(self.seal(name))));
        }
        let first = question("Step 1: What is your name?", "name", "string");
        Ok(required(json!({ "step1": first }), Some(self.seal("nobody yet"))))
    }

    pub(crate) fn prompt(&self, request: &GetPromptRequestParams) -> GetPromptResponse {
        let responses = request.input_responses.clone().unwrap_or_default();
        let Some(context) = answered(&responses, "user_context", "context") else {
            let asked = question("What context should the prompt use?", "context", "string");
            let requests: BTreeMap<String, _> = from_json(json!({ "user_context": asked }));
            return GetPromptResponse::InputRequired(InputRequiredResult::from_input_requests(requests));
        };
        let content = json!({"type": "text", "text": format!("The context is {context}")});
        let messages = json!([{"role": "user", "content": content}]);
        GetPromptResponse::Complete(result::<GetPromptResult>(json!({ "messages": messages })))
    }
}

/// Asks a client for what it says that it can do, and for nothing else.
fn only_what_it_can(capabilities: &ClientCapabilities) -> CallToolResponse {
    let all = [
        ("elicitation", "user_name", question("What is your name?", "name", "string")),
        ("sampling", "greeting", sampling("Generate a greeting", 50)),
        ("roots", "client_roots", roots()),
    ];
    let able = all.into_iter().filter(|(capability, _, _)| has(capabilities, capability));
    let requests: serde_json::Map<_, _> = able.map(|(_, key, request)| (key.to_owned(), request)).collect();
    required(Value::Object(requests), None)
}
