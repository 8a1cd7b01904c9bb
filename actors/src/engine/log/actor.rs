//! WalActor: the log's mailbox. What comes in is kept for the [loop](super::task) behind it, which does all the rest.
//!
//! The loop is polled by the actor itself, each time that its mailbox has been looked at: a batch costs no wake-up of a
//! task beside that of the actor. While the loop waits for the disk, messages gather.

use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, ready};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, ResponseFuture};
use tokio::sync::oneshot;

use crate::engine::liveness::ExitGuard;
use crate::engine::log::inbox::{LogInbox, LogRequest, Pruned};
use crate::engine::log::task::{LogTask, OpenLog, Ownership, WalSettings};
use crate::engine::messages::{Append, CloseLog, End, Ping, Prune, Seal, SetAside, Subscribe};
#[cfg(feature = "testing")]
use crate::engine::messages::{Crash, Freeze};
use crate::wal::writer::LogWriter;

/// The mailbox in front of the loop that owns the [`LogWriter`].
pub struct WalActor {
    inbox: Rc<RefCell<LogInbox>>,
    /// Until the actor is started.
    task: Option<LogTask>,
}

impl WalActor {
    /// Around a writer that has just begun its segment.
    #[must_use]
    pub fn new(
        writer: LogWriter,
        settings: WalSettings,
        lock: Box<dyn Any + Send>,
        guard: ExitGuard,
    ) -> WalActor {
        let inbox = Rc::new(RefCell::new(LogInbox::default()));
        let log = OpenLog { writer, ownership: Ownership { _lock: lock, _guard: guard } };
        WalActor { task: Some(LogTask::new(log, inbox.clone(), settings)), inbox }
    }

    /// Keeps a request for the loop.
    fn ask(&mut self, request: LogRequest) {
        self.inbox.borrow_mut().requests.push_back(request);
    }
}

impl Actor for WalActor {
    type Context = Context<WalActor>;

    fn started(&mut self, ctx: &mut Context<WalActor>) {
        if let Some(task) = self.task.take() {
            ctx.spawn(LogLoop(Box::pin(task.run())));
        }
    }
}

/// The loop, polled after each look at the mailbox. The actor stops when it ends.
struct LogLoop<F>(Pin<Box<F>>);

impl<F: Future<Output = ()>> ActorFuture<WalActor> for LogLoop<F> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        wal: &mut WalActor,
        ctx: &mut Context<WalActor>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        if !ctx.connected() {
            wal.inbox.borrow_mut().is_closed = true;
        }
        ready!(self.0.as_mut().poll(task));
        ctx.stop();
        Poll::Ready(())
    }
}

impl Handler<Append> for WalActor {
    type Result = ();

    fn handle(&mut self, append: Append, _: &mut Context<WalActor>) {
        self.inbox.borrow_mut().gathered.add(append);
    }
}

impl Handler<Subscribe> for WalActor {
    type Result = ();

    fn handle(&mut self, subscribe: Subscribe, _: &mut Context<WalActor>) {
        self.ask(LogRequest::Subscribe(subscribe));
    }
}

impl Handler<Seal> for WalActor {
    type Result = ();

    fn handle(&mut self, seal: Seal, _: &mut Context<WalActor>) {
        self.ask(LogRequest::Seal(seal));
    }
}

impl Handler<Prune> for WalActor {
    type Result = ();

    fn handle(&mut self, prune: Prune, ctx: &mut Context<WalActor>) {
        self.ask(LogRequest::Prune(prune, ctx.address().recipient()));
    }
}

impl Handler<Pruned> for WalActor {
    type Result = ();

    fn handle(&mut self, pruned: Pruned, _: &mut Context<WalActor>) {
        self.ask(LogRequest::Pruned(pruned));
    }
}

impl Handler<SetAside> for WalActor {
    type Result = ();

    fn handle(&mut self, set_aside: SetAside, _: &mut Context<WalActor>) {
        self.ask(LogRequest::SetAside(set_aside));
    }
}

impl Handler<CloseLog> for WalActor {
    type Result = ();

    fn handle(&mut self, close: CloseLog, _: &mut Context<WalActor>) {
        self.ask(LogRequest::Close(close));
    }
}

/// At once, as a crash would: the loop goes no further. If the log's thread has the writer, that one ends there when it
/// is done.
impl Handler<End> for WalActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<WalActor>) {
        ctx.stop();
    }
}

impl Handler<Ping> for WalActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Ping, _: &mut Context<WalActor>) -> ResponseFuture<()> {
        let (ping, heard) = oneshot::channel();
        self.ask(LogRequest::Ping(ping));
        // A loop that turns everything away gives a sign of life, too.
        Box::pin(async move { heard.await.unwrap_or_default() })
    }
}

#[cfg(feature = "testing")]
impl Handler<Freeze> for WalActor {
    type Result = ();

    fn handle(&mut self, freeze: Freeze, _: &mut Context<WalActor>) {
        self.ask(LogRequest::Freeze(freeze));
    }
}

#[cfg(feature = "testing")]
impl Handler<Crash> for WalActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Context<WalActor>) {
        self.ask(LogRequest::Crash(crash));
    }
}
