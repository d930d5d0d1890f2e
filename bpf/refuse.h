/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Saying no, as a node without a listener would: a reset (RFC 9293, 3.5.2), or port unreachable (RFC 1122, 3.2.2.1;
 * RFC 4443, 3.1). The packet itself becomes the answer and leaves where it came from.
 *
 * Its checksum may be one that the device was to complete (CHECKSUM_PARTIAL, from machines next door by veth or virtio),
 * which a program is not told and cannot end. The kernel would then still sum from the old transport header to the end
 * and store it where the old checksum stood; what is written there has to come out right by that.
 */
#ifndef PLUMBLINE_REFUSE_H
#define PLUMBLINE_REFUSE_H

#include "node.h"
#include "rewrite.h"

#define THIS_HOST 0 /* PACKET_HOST, linux/if_packet.h */
#define DONT_FRAGMENT 0x4000
#define HOPS 64
#define QUOTED_MOST 127 /* bytes of an IP header, its options and the transport's first ones: ones only, it masks */
#define QUOTED_OF_TRANSPORT 8

struct ethernet_header {
	__u8 to[6];
	__u8 from[6];
	__be16 type;
};

struct pseudo_header { /* of IPv6; what IPv4's lacks of it is zero, so the sum is the same (RFC 8200, 8.1) */
	struct pl_addr from;
	struct pl_addr to;
	__be32 length;
	__be32 proto;
};

static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline __u32 sum_of(const void *bytes, __u32 length, __u32 sum)
{
	return bpf_csum_diff(0, 0, (__be32 *)bytes, length, sum);
}

/* What the IPv6 form of an IPv4 address adds to a sum must not count: ::ffff:0:0 twice. */
static __always_inline __u32 pseudo_sum(const struct packet *packet, __u32 length, __u8 proto)
{
	struct pseudo_header pseudo = {
		.from = packet->tuple.to.addr, .to = packet->tuple.from.addr, .length = bpf_htonl(length), .proto = bpf_htonl(proto)
	};

	if (packet->version == 4) {
		__builtin_memset(pseudo.from.bytes, 0, 12);
		__builtin_memset(pseudo.to.bytes, 0, 12);
	}
	return sum_of(&pseudo, sizeof(pseudo), 0);
}

/* Nobody is answered who is many, nobody, or this node itself (RFC 1122, 3.2.2; RFC 4443, 2.4). */
static __always_inline bool is_answerable(const struct __sk_buff *skb, const struct packet *packet)
{
	const __u8 *from = packet->tuple.from.addr.bytes;

	if (skb->pkt_type != THIS_HOST)
		return false;
	if (packet->version == 4)
		return from[12] != 0 && from[12] != 127 && from[12] < 224;
	return from[0] != 0xff && (from[0] || from[1] || from[2] || from[3]);
}

/* Whether the device is to complete the checksum that stands there: the kernel then leaves it alone. */
static __always_inline bool is_completed_later(struct __sk_buff *skb, __u32 at)
{
	__u16 was, is;

	if (bpf_skb_load_bytes(skb, at, &was, sizeof(was)) || bpf_l4_csum_replace(skb, at, 0, 1, 0) ||
	    bpf_skb_load_bytes(skb, at, &is, sizeof(is)))
		return false;
	bpf_skb_store_bytes(skb, at, &was, sizeof(was), 0);
	return was == is;
}

/* Ethernet and IP of the answer, at the head of the packet. `from_frame` is where the old frame begins. */
static __always_inline int write_heads(struct __sk_buff *skb, const struct packet *packet, __u32 from_frame, __u32 length, __u8 proto)
{
	struct ethernet_header frame, back;

	if (bpf_skb_load_bytes(skb, from_frame, &frame, sizeof(frame)))
		return -1;
	__builtin_memcpy(back.to, frame.from, sizeof(back.to));
	__builtin_memcpy(back.from, frame.to, sizeof(back.from));
	back.type = frame.type;
	if (bpf_skb_store_bytes(skb, 0, &back, sizeof(back), 0))
		return -1;
	if (packet->version == 4) {
		struct ipv4_header ip = {
			.version_length = 0x45, .length = bpf_htons(sizeof(ip) + length), .fragment = bpf_htons(DONT_FRAGMENT), .ttl = HOPS, .protocol = proto
		};

		ip.from = pl_ipv4(&packet->tuple.to.addr);
		ip.to = pl_ipv4(&packet->tuple.from.addr);
		ip.checksum = ~folded(sum_of(&ip, sizeof(ip), 0));
		return bpf_skb_store_bytes(skb, ETHERNET_LENGTH, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
	}
	struct ipv6_header ip = { .version_class_flow = bpf_htonl(6 << 28), .length = bpf_htons(length), .next = proto, .hops = HOPS };

	ip.from = packet->tuple.to.addr;
	ip.to = packet->tuple.from.addr;
	return bpf_skb_store_bytes(skb, ETHERNET_LENGTH, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline __u32 ip_length(const struct packet *packet)
{
	return packet->version == 4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header);
}

/* The reset that the segment asks for; one with an acknowledgement is believed to know where the other side stood. */
static __always_inline void fill_reset(struct tcp_header *tcp, const struct packet *packet)
{
	struct tcp_header asked = *tcp;
	__u32 length = packet->end - packet->transport - (asked.length >> 4) * 4;
	struct tcp_header reset = { .from = asked.to, .to = asked.from, .length = sizeof(reset) / 4 << 4, .flags = TCP_RST };

	if (asked.flags & TCP_ACK) {
		reset.sequence = asked.acknowledgement;
	} else {
		length += (asked.flags & TCP_SYN ? 1 : 0) + (asked.flags & TCP_FIN ? 1 : 0);
		reset.acknowledgement = bpf_htonl(bpf_ntohl(asked.sequence) + length);
		reset.flags |= TCP_ACK;
	}
	*tcp = reset;
}

VERIFIED_ALONE int reset(struct __sk_buff *skb, const struct packet *packet)
{
	struct tcp_header tcp;
	__u32 at, sum;
	bool later;

	if (!packet || packet->tcp_flags & TCP_RST || packet->piece != WHOLE)
		return TC_ACT_SHOT;
	at = ETHERNET_LENGTH + ip_length(packet);
	later = is_completed_later(skb, packet->transport + TCP_CHECKSUM_AT);
	if ((later && packet->transport != at) || bpf_skb_load_bytes(skb, packet->transport, &tcp, sizeof(tcp)))
		return TC_ACT_SHOT;
	fill_reset(&tcp, packet);
	if (bpf_skb_change_tail(skb, at + sizeof(tcp), 0) || write_heads(skb, packet, 0, sizeof(tcp), IPPROTO_TCP))
		return TC_ACT_SHOT;
	sum = pseudo_sum(packet, sizeof(tcp), IPPROTO_TCP);
	tcp.checksum = later ? folded(sum) : (__u16)~folded(sum_of(&tcp, sizeof(tcp), sum));
	if (bpf_skb_store_bytes(skb, at, &tcp, sizeof(tcp), BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

/* The sum of what is quoted, as it will be when it leaves. */
static __always_inline int quoted_sum(struct __sk_buff *skb, const struct packet *packet, __u32 length, __u32 *sum)
{
	__u8 quoted[QUOTED_MOST + 1] __attribute__((aligned(4))) = {};
	struct udp_header udp;
	__u16 whole;

	barrier_var(length); /* compilers know that it is no more; the verifier has to see it */
	length &= QUOTED_MOST;
	if (length == 0)
		return -1;
	if (bpf_skb_load_bytes(skb, ETHERNET_LENGTH, quoted, length) || bpf_skb_load_bytes(skb, packet->transport, &udp, sizeof(udp)))
		return -1;
	*sum = sum_of(quoted, sizeof(quoted), *sum);
	if (is_completed_later(skb, packet->transport + UDP_CHECKSUM_AT)) {
		whole = ~folded(sum_of(&udp, sizeof(udp), 0));
		*sum = folded(*sum) + (__u16)~udp.checksum + (whole ? whole : 0xffff);
	}
	return 0;
}

VERIFIED_ALONE int unreachable(struct __sk_buff *skb, const struct packet *packet)
{
	struct icmp_header icmp = {};
	__u32 quoted, grows, sum = 0;

	if (!packet)
		return TC_ACT_SHOT;
	icmp.type = packet->version == 4 ? 3 : 1; /* destination unreachable, its code: port */
	icmp.code = packet->version == 4 ? 3 : 4;
	quoted = packet->transport + QUOTED_OF_TRANSPORT - ETHERNET_LENGTH;
	grows = ip_length(packet) + sizeof(icmp);
	if (packet->transport < ETHERNET_LENGTH || quoted < QUOTED_OF_TRANSPORT || quoted > QUOTED_MOST)
		return TC_ACT_SHOT;
	if (packet->version == 6)
		sum = pseudo_sum(packet, sizeof(icmp) + quoted, IPPROTO_ICMPV6);
	sum = sum_of(&icmp, sizeof(icmp), sum);
	if (quoted_sum(skb, packet, quoted, &sum))
		return TC_ACT_SHOT;
	icmp.checksum = ~folded(sum);
	if (bpf_skb_change_tail(skb, ETHERNET_LENGTH + quoted, 0) || bpf_skb_change_head(skb, grows, 0))
		return TC_ACT_SHOT;
	if (write_heads(skb, packet, grows, sizeof(icmp) + quoted, packet->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, ETHERNET_LENGTH + ip_length(packet), &icmp, sizeof(icmp), BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int refuse(struct __sk_buff *skb, const struct packet *packet)
{
	if (!is_answerable(skb, packet))
		return TC_ACT_SHOT;
	return packet->tuple.proto == IPPROTO_TCP ? reset(skb, packet) : unreachable(skb, packet);
}

#endif
