#![doc = include_str!("../README.md")]

mod http;
mod sse;

pub use http::{
    Access, Asset, Body, BoxError, Builder, HttpDoor, InvalidSetting, Limits, Mounted, ServeSettings,
    Settings, SharedSession, serve,
};
