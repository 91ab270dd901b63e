//! The structure behind the socket option `TCP_INFO`.

/// The kernel's knowledge of a TCP connection (`struct tcp_info` of `linux/tcp.h`).
///
/// A kernel older than a field leaves it at 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(non_camel_case_types)] // The name that the system's headers and our users know.
pub struct TCP_INFO {
    /// State of the connection, as the kernel numbers them (1 is ESTABLISHED).
    pub tcpi_state: u8,
    /// State of congestion avoidance: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss.
    pub tcpi_ca_state: u8,
    /// Unanswered retransmissions of the segment at the head of the queue.
    pub tcpi_retransmits: u8,
    /// Unanswered window or keep-alive probes.
    pub tcpi_probes: u8,
    /// Exponent of the retransmission back-off.
    pub tcpi_backoff: u8,
    /// Bit set of options in use: 1 timestamps, 2 SACK, 4 window scaling, 8 ECN.
    pub tcpi_options: u8,
    /// Window scale: low four bits of the peer, high four bits of this side.
    pub tcpi_snd_wscale_4_rcv_wscale_4: u8,
    /// Lowest bit: `tcpi_delivery_rate` was limited by the application. Next two: state of fast open.
    pub tcpi_delivery_rate_app_limited: u8,
    /// Retransmission timeout, in microseconds.
    pub tcpi_rto: u32,
    /// Delayed-acknowledgement timeout, in microseconds.
    pub tcpi_ato: u32,
    /// Largest segment sent, in bytes.
    pub tcpi_snd_mss: u32,
    /// Largest segment received, in bytes.
    pub tcpi_rcv_mss: u32,
    /// Segments sent and not acknowledged; on a listener: connections that wait to be accepted.
    pub tcpi_unacked: u32,
    /// Segments acknowledged selectively; on a listener: limit of its backlog.
    pub tcpi_sacked: u32,
    /// Segments taken for lost.
    pub tcpi_lost: u32,
    /// Segments being retransmitted.
    pub tcpi_retrans: u32,
    /// No longer filled by current kernels.
    pub tcpi_fackets: u32,
    /// Milliseconds since data was sent.
    pub tcpi_last_data_sent: u32,
    /// Not filled by the kernel.
    pub tcpi_last_ack_sent: u32,
    /// Milliseconds since data was received.
    pub tcpi_last_data_recv: u32,
    /// Milliseconds since an acknowledgement was received.
    pub tcpi_last_ack_recv: u32,
    /// Path MTU, in bytes.
    pub tcpi_pmtu: u32,
    /// Slow-start threshold of the receive window, in bytes.
    pub tcpi_rcv_ssthresh: u32,
    /// Smoothed round-trip time, in microseconds.
    pub tcpi_rtt: u32,
    /// Variance of the round-trip time, in microseconds.
    pub tcpi_rttvar: u32,
    /// Slow-start threshold, in segments.
    pub tcpi_snd_ssthresh: u32,
    /// Congestion window, in segments.
    pub tcpi_snd_cwnd: u32,
    /// Advertised largest segment, in bytes.
    pub tcpi_advmss: u32,
    /// Reordering that is tolerated, in segments.
    pub tcpi_reordering: u32,
    /// Round-trip time as the receiver sees it, in microseconds.
    pub tcpi_rcv_rtt: u32,
    /// Space of the receive queue, in bytes.
    pub tcpi_rcv_space: u32,
    /// Segments retransmitted in the life of the connection.
    pub tcpi_total_retrans: u32,
    /// Pacing rate, in bytes per second.
    pub tcpi_pacing_rate: u64,
    /// Ceiling of the pacing rate, in bytes per second.
    pub tcpi_max_pacing_rate: u64,
    /// Bytes that the peer acknowledged.
    pub tcpi_bytes_acked: u64,
    /// Bytes received and acknowledged.
    pub tcpi_bytes_received: u64,
    /// Segments sent.
    pub tcpi_segs_out: u32,
    /// Segments received.
    pub tcpi_segs_in: u32,
    /// Bytes that wait to be sent.
    pub tcpi_notsent_bytes: u32,
    /// Smallest round-trip time seen, in microseconds.
    pub tcpi_min_rtt: u32,
    /// Segments with data received.
    pub tcpi_data_segs_in: u32,
    /// Segments with data sent.
    pub tcpi_data_segs_out: u32,
    /// Most recent goodput, in bytes per second.
    pub tcpi_delivery_rate: u64,
    /// Microseconds spent with data outstanding.
    pub tcpi_busy_time: u64,
    /// Microseconds limited by the peer's window.
    pub tcpi_rwnd_limited: u64,
    /// Microseconds limited by the send buffer.
    pub tcpi_sndbuf_limited: u64,
    /// Segments delivered, retransmissions included.
    pub tcpi_delivered: u32,
    /// Segments delivered with an ECN mark.
    pub tcpi_delivered_ce: u32,
    /// Bytes of data sent, retransmissions included.
    pub tcpi_bytes_sent: u64,
    /// Bytes of data retransmitted.
    pub tcpi_bytes_retrans: u64,
    /// Duplicates that the peer reported.
    pub tcpi_dsack_dups: u32,
    /// Reordering events seen.
    pub tcpi_reord_seen: u32,
    /// Segments received out of order.
    pub tcpi_rcv_ooopack: u32,
    /// The peer's advertised window, in bytes.
    pub tcpi_snd_wnd: u32,
    /// This side's advertised window, in bytes.
    pub tcpi_rcv_wnd: u32,
}

impl TCP_INFO {
    /// A structure with every field 0.
    ///
    /// # Safety
    /// None is needed: the function is `unsafe` only because its kept signature is. Prefer
    /// `TCP_INFO::default()`.
    pub unsafe fn new() -> Self {
        Self::default()
    }

    /// Size of the structure in bytes, as system calls want to know it.
    pub fn len() -> libc::socklen_t {
        size_of::<Self>() as libc::socklen_t
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(std::mem::offset_of!(TCP_INFO, tcpi_rto), 8);
        assert_eq!(std::mem::offset_of!(TCP_INFO, tcpi_pacing_rate), 104);
        assert_eq!(std::mem::offset_of!(TCP_INFO, tcpi_delivery_rate), 160);
        assert_eq!(std::mem::offset_of!(TCP_INFO, tcpi_rcv_wnd), 232);
        assert_eq!(TCP_INFO::len(), 240);
        // SAFETY: has no requirement.
        assert_eq!(unsafe { TCP_INFO::new() }.tcpi_rtt, 0);
    }
}
