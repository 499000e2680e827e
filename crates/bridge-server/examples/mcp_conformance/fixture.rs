//! The tools, prompts and resources that the conformance suite of the protocol asks a server for.

#![expect(deprecated, reason = "the suite tests the older protocol's logging")]

use std::{sync::Arc, time::Duration};

use http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, CompleteRequestParams, CompleteResult,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, JsonObject, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ProgressNotificationParam, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
        ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter,
        Tool, UnsubscribeRequestParams,
    },
    service::{RequestContext, SubscriptionContext},
    transport::streamable_http_server::session::local::LocalSessionManager,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::rounds::Rounds;

/// A red pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";

/// No sound at all.
const SILENCE: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA==";

/// The server side of the suite's scenarios.
#[derive(Clone)]
pub(crate) struct Fixture {
    changes: broadcast::Sender<Change>,
    rounds: Arc<Rounds>,
    sessions: Arc<LocalSessionManager>,
}

/// A list that changed.
#[derive(Debug, Clone, Copy)]
enum Change {
    Tools,
    Prompts,
}

impl Fixture {
    pub(crate) fn new(sessions: Arc<LocalSessionManager>) -> Self {
        Self { changes: broadcast::channel(16).0, rounds: Arc::default(), sessions }
    }
}

/// A value of the protocol's library from its JSON form.
pub(crate) fn from_json<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the fixture is written as the protocol says")
}

/// A result from its JSON form.
pub(crate) fn result<T: DeserializeOwned>(mut value: Value) -> T {
    value["resultType"] = json!("complete");
    from_json(value)
}

/// Tools whose result is always the same.
fn constant(tool: &str) -> Option<Value> {
    let image = json!({"type": "image", "data": PIXEL, "mimeType": "image/png"});
    let content = match tool {
        "test_simple_text" => {
            json!([{"type": "text", "text": "This is a simple text response for testing."}])
        }
        "test_image_content" => json!([image]),
        "test_audio_content" => json!([{"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => json!([{"type": "resource", "resource": {
            "uri": "test://embedded-resource",
            "mimeType": "text/plain",
            "text": "This is an embedded resource content.",
        }}]),
        "test_multiple_content_types" => json!([
            {"type": "text", "text": "Multiple content types test:"},
            image,
            {"type": "resource", "resource": {
                "uri": "test://mixed-content-resource",
                "mimeType": "application/json",
                "text": json!({"test": "data", "value": 123}).to_string(),
            }},
        ]),
        "test_error_handling" => {
            let text = "This tool intentionally returns an error for testing";
            return Some(json!({"content": [{"type": "text", "text": text}], "isError": true}));
        }
        "json_schema_2020_12_tool" | "test_custom_headers" => json!([{"type": "text", "text": "ok"}]),
        _ => return None,
    };
    Some(json!({ "content": content }))
}

fn text(text: impl Into<String>) -> CallToolResponse {
    CallToolResponse::Complete(result(json!({"content": [{"type": "text", "text": text.into()}]})))
}

/// What each tool takes; tools that take nothing are named only.
fn tools() -> Vec<Tool> {
    let plain = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_tool_with_logging",
        "test_logging_tool",
        "test_tool_with_progress",
        "test_error_handling",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_streaming_elicitation",
        "test_reconnection",
        "test_missing_capability",
        "test_trigger_tool_change",
        "test_trigger_prompt_change",
        "test_input_required_result_elicitation",
        "test_input_required_result_sampling",
        "test_input_required_result_list_roots",
        "test_input_required_result_request_state",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_multi_round",
        "test_input_required_result_tampered_state",
        "test_input_required_result_capabilities",
    ];
    let nothing = json!({"type": "object", "properties": {}});
    let one =
        |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    let headers = json!({
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    });
    let mut tools: Vec<_> = plain.iter().map(|name| tool(name, nothing.clone())).collect();
    tools.push(tool("test_sampling", one("prompt")));
    tools.push(tool("test_elicitation", one("message")));
    tools.push(tool("test_custom_headers", headers));
    tools.push(tool("json_schema_2020_12_tool", schema_2020_12()));
    tools
}

fn tool(name: &str, schema: Value) -> Tool {
    let schema: JsonObject = from_json(schema);
    Tool::new(name.to_owned(), format!("A fixture: {name}"), schema)
}

/// A schema with every word that must not get lost.
fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

impl Fixture {
    /// Tools that talk while they work.
    async fn talk(&self, name: &str, arguments: &JsonObject, cx: &RequestContext<RoleServer>) -> Talked {
        let argument =
            |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(match name {
            "test_tool_with_logging" | "test_logging_tool" => {
                for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    log(cx, line).await;
                    pause(50).await;
                }
                text("logged")
            }
            "test_tool_with_progress" => {
                for progress in [0.0, 50.0, 100.0] {
                    if let Some(token) = cx.meta.get_progress_token() {
                        let progress = ProgressNotificationParam::new(token, progress).with_total(100.0);
                        let _ = cx.peer.notify_progress(progress).await;
                    }
                    pause(50).await;
                }
                text("progressed")
            }
            "test_streaming_elicitation" => {
                if let Some(token) = cx.meta.get_progress_token() {
                    let _ = cx.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await;
                }
                text("streamed")
            }
            "test_sampling" => {
                let prompt = json!({"role": "user", "content": {"type": "text", "text": argument("prompt")}});
                let params = json!({"messages": [prompt], "maxTokens": 100});
                let answer = ask(cx, "sampling/createMessage", params).await?;
                text(format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or_default()))
            }
            "test_elicitation" => {
                let schema = json!({
                    "type": "object",
                    "properties": {
                        "username": {"type": "string", "description": "User's response"},
                        "email": {"type": "string", "description": "User's email address"},
                    },
                    "required": ["username", "email"],
                });
                let params = json!({"message": argument("message"), "requestedSchema": schema});
                let answer = ask(cx, "elicitation/create", params).await?;
                text(format!("User response: action={}, content={}", answer["action"], answer["content"]))
            }
            "test_elicitation_sep1034_defaults" => elicit(cx, defaults()).await?,
            "test_elicitation_sep1330_enums" => elicit(cx, enums()).await?,
            "test_reconnection" => {
                self.cut_stream(cx).await;
                pause(200).await;
                text("reconnected")
            }
            "test_missing_capability" => {
                if cx.client_capabilities().is_none_or(|capabilities| !has(&capabilities, "sampling")) {
                    let required = from_json(json!({"sampling": {}}));
                    return Err(ErrorData::missing_required_client_capability(required));
                }
                text("it is there")
            }
            "test_trigger_tool_change" => {
                let _ = self.changes.send(Change::Tools);
                text("changed")
            }
            "test_trigger_prompt_change" => {
                let _ = self.changes.send(Change::Prompts);
                text("changed")
            }
            _ => return Err(ErrorData::invalid_params(format!("Tool '{name}' not found"), None)),
        })
    }

    /// Closes the stream of the call, so that the client has to come back for the rest.
    async fn cut_stream(&self, cx: &RequestContext<RoleServer>) {
        let parts = cx.extensions.get::<Parts>();
        let session = parts.and_then(|parts| parts.headers.get("mcp-session-id")?.to_str().ok());
        let Some(session) = session else { return };
        let handle = self.sessions.sessions.read().await.get(session).cloned();
        if let Some(handle) = handle {
            // Streams are numbered within a session; this is the newest.
            for stream in 0..8 {
                let _ = handle.close_sse_stream(stream, Some(Duration::from_millis(100))).await;
            }
        }
    }
}

type Talked = Result<CallToolResponse, ErrorData>;

/// Whether a client says that it can do something.
pub(crate) fn has(capabilities: &ClientCapabilities, name: &str) -> bool {
    serde_json::to_value(capabilities).is_ok_and(|value| value.get(name).is_some())
}

/// Asks the client, in the middle of a call: only the older protocol can.
async fn ask(cx: &RequestContext<RoleServer>, method: &str, params: Value) -> Result<Value, ErrorData> {
    let capability = method.split('/').next().unwrap_or_default();
    if cx.client_capabilities().is_none_or(|capabilities| !has(&capabilities, capability)) {
        return Err(ErrorData::invalid_request(format!("the client has no {capability}"), None));
    }
    let request = from_json(json!({"method": method, "params": params}));
    let answer = cx.peer.send_request(request).await;
    let answer = answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Ok(serde_json::to_value(answer).unwrap_or_default())
}

async fn elicit(cx: &RequestContext<RoleServer>, schema: Value) -> Talked {
    let params = json!({"message": "Please fill this in", "requestedSchema": schema});
    let answer = ask(cx, "elicitation/create", params).await?;
    let action = answer["action"].as_str().unwrap_or_default();
    Ok(text(format!("Elicitation completed: action={action}, content={}", answer["content"])))
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    }})
}

fn enums() -> Value {
    let titled = |what: &str| {
        let titles = ["First", "Second", "Third"];
        let all = titles
            .iter()
            .zip(1..)
            .map(|(title, n)| json!({"const": format!("value{n}"), "title": format!("{title} {what}")}));
        all.collect::<Vec<_>>()
    };
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    }})
}

/// A line for the client's log, if it wants any.
async fn log(cx: &RequestContext<RoleServer>, line: &str) {
    let stateless = cx.protocol_version().is_some_and(|version| version.as_str() >= "2026-07-28");
    if !stateless || cx.meta.log_level().is_some() {
        let params = from_json(json!({"level": "info", "data": line}));
        let _ = cx.peer.notify_logging_message(params).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the suite asks for pauses of real time")]
async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn prompt(name: &str, arguments: &JsonObject) -> Option<Value> {
    let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let says = |content: Value| json!({"role": "user", "content": content});
    let text = |text: String| says(json!({"type": "text", "text": text}));
    Some(match name {
        "test_simple_prompt" => json!([text("This is a simple prompt for testing.".to_owned())]),
        "test_prompt_with_arguments" => json!([text(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))]),
        "test_prompt_with_embedded_resource" => json!([
            says(json!({"type": "resource", "resource": {
                "uri": argument("resourceUri"),
                "mimeType": "text/plain",
                "text": "Embedded resource content for testing.",
            }})),
            text("Please process the embedded resource above.".to_owned()),
        ]),
        "test_prompt_with_image" => json!([
            says(json!({"type": "image", "data": PIXEL, "mimeType": "image/png"})),
            text("Please analyze the image above.".to_owned()),
        ]),
        _ => return None,
    })
}

fn resource(uri: &str) -> Option<Value> {
    let content = match uri {
        "test://static-text" => {
            json!({"mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://static-binary" => json!({"mimeType": "image/png", "blob": PIXEL}),
        "test://watched-resource" => json!({"mimeType": "text/plain", "text": "watched"}),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"mimeType": "application/json", "text": data.to_string()})
        }
    };
    let mut content = content;
    content["uri"] = json!(uri);
    Some(content)
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities: ServerCapabilities = from_json(json!({
            "tools": {"listChanged": true},
            "prompts": {"listChanged": true},
            "resources": {"subscribe": true},
            "completions": {},
            "logging": {},
        }));
        ServerConfig::new(capabilities)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(&self, request: CallToolRequestParams, cx: RequestContext<RoleServer>) -> Talked {
        if let Some(constant) = constant(&request.name) {
            return Ok(CallToolResponse::Complete(result(constant)));
        }
        if request.name.starts_with("test_input_required_result_") {
            return self.rounds.call(&request, &cx);
        }
        self.talk(&request.name, &request.arguments.unwrap_or_default(), &cx).await
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let argument = |name: &str| json!({"name": name, "description": "An argument", "required": true});
        Ok(result(json!({"prompts": [
            {"name": "test_simple_prompt", "description": "A fixture"},
            {"name": "test_prompt_with_arguments", "description": "A fixture",
             "arguments": [argument("arg1"), argument("arg2")]},
            {"name": "test_prompt_with_embedded_resource", "description": "A fixture",
             "arguments": [argument("resourceUri")]},
            {"name": "test_prompt_with_image", "description": "A fixture"},
            {"name": "test_input_required_result_prompt", "description": "A fixture"},
        ]})))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name == "test_input_required_result_prompt" {
            return Ok(self.rounds.prompt(&request));
        }
        let messages = prompt(&request.name, &request.arguments.unwrap_or_default());
        let messages = messages.ok_or_else(|| ErrorData::invalid_params("there is no such prompt", None))?;
        Ok(GetPromptResponse::Complete(result::<GetPromptResult>(json!({ "messages": messages }))))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources: Vec<_> = ["static-text", "static-binary", "watched-resource"]
            .iter()
            .map(|name| json!({"uri": format!("test://{name}"), "name": name, "description": "A fixture"}))
            .collect();
        Ok(result(json!({ "resources": resources })))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = json!({
            "uriTemplate": "test://template/{id}/data", "name": "template", "description": "A fixture",
        });
        Ok(result(json!({"resourceTemplates": [template]})))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let content = resource(&request.uri).ok_or_else(|| {
            ErrorData::resource_not_found("Resource not found", Some(json!({"uri": request.uri})))
        })?;
        Ok(ReadResourceResponse::Complete(result::<ReadResourceResult>(json!({"contents": [content]}))))
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(result(
            json!({"completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": false}}),
        ))
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.subscribe();
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = context.cancelled() => return Ok(()),
            };
            // One that was not subscribed to is held back by the library.
            let _ = match change {
                Ok(Change::Tools) => context.sink().notify_tool_list_changed().await,
                Ok(Change::Prompts) => context.sink().notify_prompt_list_changed().await,
                Err(_) => return Ok(()),
            };
        }
    }
}
