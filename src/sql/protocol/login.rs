//! Authentication: SCRAM with the token of the service; none if no token is set.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::Sink;
use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramAuth, gen_salted_password};
use pgwire::api::auth::{
    AuthSource, DefaultServerParameterProvider, LoginInfo, Password, ServerParameterProvider, StartupHandler,
    finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata,
};
use pgwire::api::{
    ClientInfo, ConnectionManager, PgWireConnectionState, PidSecretKeyGenerator, RandomPidSecretKeyGenerator,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use crate::config::Secret;
use crate::error::{Error, Result};

use crate::sql::catalog::settings::server_version;
use crate::sql::catalog::tables::SHOP;

/// How clients of one server log in.
pub(crate) struct Login {
    known: Option<Arc<KnownToken>>,
    connections: Arc<ConnectionManager>,
    ids: Arc<RandomPidSecretKeyGenerator>,
    needs_tls: bool,
}

impl Login {
    pub(crate) fn new(token: &Secret, connections: &Arc<ConnectionManager>, needs_tls: bool) -> Result<Login> {
        let known = (!token.is_empty()).then(|| KnownToken::new(token).map(Arc::new)).transpose()?;
        Ok(Login { known, connections: Arc::clone(connections), ids: Arc::default(), needs_tls })
    }

    /// What one client goes through.
    pub(crate) fn of_client(&self, is_in: &Arc<AtomicBool>) -> ClientLogin {
        let handler = self.known.as_ref().map(|known| {
            let scram = ScramAuth::new(Arc::clone(known) as _);
            SASLAuthStartupHandler::new(Arc::new(ServerParameters::new()))
                .with_scram(scram)
                .with_pid_secret_key_generator(Arc::clone(&self.ids) as _)
                .with_connection_manager(Arc::clone(&self.connections))
        });
        let (connections, ids) = (Arc::clone(&self.connections), Arc::clone(&self.ids));
        ClientLogin { handler, connections, ids, needs_tls: self.needs_tls, is_in: Arc::clone(is_in) }
    }
}

/// The login of one client.
pub(crate) struct ClientLogin {
    handler: Option<SASLAuthStartupHandler<ServerParameters>>,
    connections: Arc<ConnectionManager>,
    ids: Arc<RandomPidSecretKeyGenerator>,
    needs_tls: bool,
    /// True once the client may ask.
    is_in: Arc<AtomicBool>,
}

#[async_trait]
impl StartupHandler for ClientLogin {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if self.needs_tls && !client.is_secure() {
            let refusal = "this server takes TLS connections only; wanted sslmode=require".to_owned();
            let info = ErrorInfo::new("FATAL".to_owned(), "28000".to_owned(), refusal);
            return Err(PgWireError::UserError(Box::new(info)));
        }
        if let Some(handler) = &self.handler {
            handler.on_startup(client, message).await?;
            self.is_in.fetch_or(matches!(client.state(), PgWireConnectionState::ReadyForQuery), Ordering::Relaxed);
            return Ok(());
        }
        if let PgWireFrontendMessage::Startup(startup) = &message {
            protocol_negotiation(client, startup).await?;
            save_startup_parameters_to_metadata(client, startup);
            let (pid, secret) = self.ids.generate(client);
            client.set_pid_and_secret_key(pid, secret.clone());
            let (handle, guard) = self.connections.register(pid, secret);
            client.session_extensions().insert(handle);
            client.session_extensions().insert(guard);
            finish_authentication(client, &ServerParameters::new()).await?;
            self.is_in.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The token, salted.
struct KnownToken(Password);

impl KnownToken {
    fn new(token: &Secret) -> Result<KnownToken> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(Error::failed)?;
        let salted = gen_salted_password(&String::from_utf8_lossy(token.bytes()), &salt, SCRAM_ITERATIONS);
        Ok(KnownToken(Password::new(Some(salt.to_vec()), salted)))
    }
}

/// Any user may be named.
#[async_trait]
impl AuthSource for KnownToken {
    async fn get_password(&self, _: &LoginInfo) -> PgWireResult<Password> {
        Ok(self.0.clone())
    }
}

impl Debug for KnownToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a token")
    }
}

/// Parameters reported at startup.
struct ServerParameters(DefaultServerParameterProvider);

impl ServerParameters {
    fn new() -> ServerParameters {
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version =
            concat!(server_version!(), " (millstream ", env!("CARGO_PKG_VERSION"), ")").to_owned();
        parameters.search_path = SHOP.to_owned();
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        ServerParameters(parameters)
    }
}

impl ServerParameterProvider for ServerParameters {
    fn server_parameters<C: ClientInfo>(&self, client: &C) -> Option<HashMap<String, String>> {
        self.0.server_parameters(client)
    }
}
