//! The one HTTP client: for the bridge and for the echo, so that they can be compared.

use std::{
    net::SocketAddr,
    pin::{Pin, pin},
};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One connection that is kept, with one call at a time. Who calls drives the connection too: no task stands between.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
    host: HeaderValue,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Box::pin(driver), host: HeaderValue::try_from(address.to_string())? })
    }

    pub(crate) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<(StatusCode, Bytes)> {
        let request = Request::post(path).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = request.header(HOST, &self.host).body(Full::new(body.into()))?;
        self.call(request).await.with_context(|| format!("POST {path}"))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes)> {
        let request = Request::get(path).header(HOST, &self.host).body(Full::default())?;
        self.call(request).await.with_context(|| format!("GET {path}"))
    }

    async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        let answered = pin!(async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        });
        match select(answered, &mut self.driver).await {
            Either::Left((answer, _)) => answer,
            Either::Right((Ok(()), _)) => Err(anyhow!("the server closed the connection")),
            Either::Right((Err(error), _)) => Err(error.into()),
        }
    }
}

/// The body of an answer that says all is well.
pub(crate) fn succeeded((status, body): (StatusCode, Bytes)) -> Result<Bytes> {
    if status.is_success() {
        return Ok(body);
    }
    Err(anyhow!("{status}: {}", String::from_utf8_lossy(&body)))
}
