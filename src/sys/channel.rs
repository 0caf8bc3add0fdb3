//! Messages between the agent's own processes: small JSON texts, each with at most one descriptor.

use std::{
    io::{self, IoSlice, IoSliceMut},
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
        socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// The longest message, bytes of JSON; longer things travel as a descriptor.
const LONGEST: usize = 32 * 1024;

/// One end of a channel that sends `Out` and receives `In`. Neither ever blocks.
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    kinds: PhantomData<fn(Out) -> In>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// It is on its way.
    Yes,
    /// The other end reads nothing at the moment: try again when the channel is writable.
    Full,
    /// The other end is gone.
    Closed,
}

/// What a look into the channel gave.
#[derive(Debug)]
pub enum Received<T> {
    /// A message, with the descriptor that came with it.
    Message(T, Option<OwnedFd>),
    /// Nothing at the moment.
    Nothing,
    /// The other end is gone.
    Closed,
}

/// Makes both ends of a channel. They are closed on exec.
///
/// # Errors
/// Those of `socketpair(2)`.
pub fn pair<A, B>() -> io::Result<(Channel<A, B>, Channel<B, A>)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((Channel { socket: left, kinds: PhantomData }, Channel { socket: right, kinds: PhantomData }))
}

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    /// Sends a message, with a descriptor if there is one to hand over.
    pub fn send(&self, message: &Out, descriptor: Option<BorrowedFd<'_>>) -> Sent {
        let Ok(text) = serde_json::to_vec(message) else { return Sent::Closed };
        debug_assert!(text.len() <= LONGEST, "a message of {} bytes", text.len());
        let fds = descriptor.map(|fd| [fd.as_raw_fd()]);
        let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let slices = [IoSlice::new(&text)];
        match sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &slices, rights.as_slice(), flags, None) {
            Ok(_) => Sent::Yes,
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Sent::Full,
            Err(_) => Sent::Closed,
        }
    }

    /// Takes the next message. One that cannot be understood counts as the other end's being gone.
    pub fn receive(&self) -> Received<In> {
        let mut text = vec![0; LONGEST];
        let mut rights = cmsg_space!([i32; 1]);
        let mut slices = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let got = recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut slices, Some(&mut rights), flags);
        let (length, descriptor) = match got {
            Ok(got) => {
                let fds = got.cmsgs().into_iter().flatten().filter_map(|message| match message {
                    ControlMessageOwned::ScmRights(fds) => fds.into_iter().next(),
                    _ => None,
                });
                let fds: Vec<i32> = fds.collect();
                (got.bytes, fds.into_iter().map(super::descriptors::adopt).next())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return Received::Nothing,
            Err(_) => return Received::Closed,
        };
        match serde_json::from_slice(&text[..length]) {
            Ok(message) => Received::Message(message, descriptor),
            Err(_) => Received::Closed,
        }
    }
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
