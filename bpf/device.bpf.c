/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Services at the device: packets from outside, to a backend on whatever node and back.
 *
 *   comes in   client -> front      destination becomes the backend     and now the kernel routes it, as what it is
 *   goes out   client -> backend    source becomes this node            (another node's backend must answer by way of us)
 *   comes in   backend -> source    destination becomes the client
 *   goes out   backend -> client    source becomes the front
 *
 * What comes in has only its destination rewritten and what goes out only its source, so that the kernel in between sees
 * each packet come from where it routes its source to (rp_filter), and its own firewall sees who speaks with whom. The
 * same two programs are on every device that such packets use, and the map of flows alone says what is to be done.
 *
 * An ICMP error is a packet of the flow whose packet it quotes, the one that this node sends about a packet in between
 * too: path MTU discovery lives of that. Every exit says TC_ACT_UNSPEC for "go on": filters behind ours have their say.
 */
#include "begin.h"
#include "refuse.h"

#define A_STRANGER 1000 /* no TC_ACT_: nothing is known of the packet */

/* Where the packet goes from here; fragments that follow will be asked for their ports here and on the way out. */
VERIFIED_ALONE int enter(struct __sk_buff *skb, struct packet *packet, const struct pl_end *to)
{
	if (!packet || !to)
		return TC_ACT_SHOT;
	if (packet->piece == FIRST)
		remember_fragment(&packet->tuple, packet->id, PL_COMES_IN);
	if (set_end(skb, packet, TO, to)) {
		pl_drop(PL_DROP_MALFORMED);
		return TC_ACT_SHOT;
	}
	packet->tuple.to = *to;
	if (packet->piece != WHOLE)
		remember_fragment(&packet->tuple, packet->id, PL_GOES_OUT);
	return TC_ACT_UNSPEC;
}

static __always_inline int leave(struct __sk_buff *skb, const struct packet *packet, const struct pl_end *from)
{
	if (packet->piece == FIRST)
		remember_fragment(&packet->tuple, packet->id, PL_GOES_OUT);
	if (set_end(skb, packet, FROM, from)) {
		pl_drop(PL_DROP_MALFORMED);
		return TC_ACT_SHOT;
	}
	return TC_ACT_UNSPEC;
}

static __always_inline bool begins(const struct packet *packet)
{
	return packet->tuple.proto == IPPROTO_UDP || (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/*
 * Whether a packet that belongs to a flow by its ends begins another one. The flow of a TCP connection stays with its
 * backend to the end, also when that is no longer in the list; one of UDP knows no end, so from time to time it is looked.
 */
static __always_inline bool begins_anew(const struct packet *packet, const struct pl_flow *flow, struct pl_flow *heart)
{
	__u8 proto = packet->tuple.proto;

	if (packet->piece == LATER)
		return false;
	if (proto == IPPROTO_UDP)
		return bpf_ktime_get_ns() - heart->seen > LOOKED_AT_EVERY && !still_leads(flow, proto);
	return begins(packet) && (heart->state == PL_CLOSING || is_over(heart, proto, false) || !still_leads(flow, proto));
}

static __always_inline int request(struct __sk_buff *skb, struct packet *packet, const struct pl_flow *flow)
{
	struct pl_flow *heart = heart_of(flow, packet->tuple.proto);

	if (packet->quoted)
		return heart ? enter(skb, packet, &flow->backend) : TC_ACT_UNSPEC;
	if (!heart || begins_anew(packet, flow, heart)) {
		bpf_map_delete_elem(&pl_flow_1, &packet->tuple);
		return A_STRANGER;
	}
	watch(heart, packet, false);
	pl_count(flow->id, 0, 1, skb->len - ETHERNET_LENGTH);
	return enter(skb, packet, &flow->backend);
}

static __always_inline int answer(struct __sk_buff *skb, struct packet *packet, const struct pl_flow *flow)
{
	if (heart_of(flow, packet->tuple.proto))
		return enter(skb, packet, &flow->client);
	pl_drop(PL_DROP_NO_FLOW);
	return TC_ACT_SHOT;
}

/* A packet of a flow, of either side. */
VERIFIED_ALONE int known(struct __sk_buff *skb, struct packet *packet)
{
	struct pl_flow flow = {};

	if (!packet || !flow_at(&packet->tuple, &flow))
		return A_STRANGER;
	if (same_end(&packet->tuple.to, &flow.front) && same_end(&packet->tuple.from, &flow.client))
		return request(skb, packet, &flow);
	return answer(skb, packet, &flow);
}

/* No front is there. What follows a first fragment that was for this node may come in. */
static __always_inline int pass_by(struct __sk_buff *skb, const struct packet *packet)
{
	if (is_orphan(skb, &packet->tuple)) {
		pl_drop(PL_DROP_NO_FLOW);
		return TC_ACT_SHOT;
	}
	if (packet->piece == FIRST && ends_here(skb, &packet->tuple))
		remember_fragment(&packet->tuple, packet->id, PL_COMES_IN);
	return TC_ACT_UNSPEC;
}

/* A packet that begins a flow, to the backend that was chosen for it. */
VERIFIED_ALONE int begin(struct __sk_buff *skb, struct packet *packet, const struct pl_service *service, struct pl_chosen *chosen)
{
	struct pl_flow flow = {};

	if (!packet || !service || !chosen || !open_flow(&packet->tuple, service, chosen, &flow))
		return TC_ACT_SHOT;
	pl_count(flow.id, 1, 1, skb->len - ETHERNET_LENGTH);
	return enter(skb, packet, &flow.backend);
}

/* A packet from the midst of a flow that has lost its entry. */
VERIFIED_ALONE int resume(struct __sk_buff *skb, struct packet *packet, const struct pl_service *service)
{
	struct pl_flow flow = {};

	if (!packet || !service || !find_again(&packet->tuple, service, &flow))
		return A_STRANGER;
	pl_count(flow.id, 0, 1, skb->len - ETHERNET_LENGTH);
	return enter(skb, packet, &flow.backend);
}

/* A packet that no flow knows. */
static __always_inline int stranger(struct __sk_buff *skb, struct packet *packet)
{
	struct pl_service service = {};
	struct pl_chosen chosen = {};
	int verdict;

	if (packet->quoted)
		return TC_ACT_UNSPEC; /* what it quotes may be the node's own */
	if (!find_service(&packet->tuple.to, &packet->tuple.from, packet->tuple.proto, &service))
		return pass_by(skb, packet);
	if (service.flags & PL_RANGED) {
		pl_drop(PL_DROP_NO_RANGE);
		return TC_ACT_SHOT;
	}
	if (packet->piece == LATER) {
		pl_drop(PL_DROP_NO_FIRST_FRAGMENT);
		return TC_ACT_SHOT;
	}
	if (service.count == 0 || (begins(packet) && !choose(&packet->tuple.from.addr, &service, &chosen))) {
		pl_drop(PL_DROP_NO_BACKEND);
		return service.flags & PL_DROP_EMPTY ? TC_ACT_SHOT : refuse(skb, packet);
	}
	verdict = begins(packet) ? begin(skb, packet, &service, &chosen) : resume(skb, packet, &service);
	if (verdict != A_STRANGER)
		return verdict;
	pl_drop(PL_DROP_NO_FLOW);
	return refuse(skb, packet);
}

/* What could not be read is nobody's, unless it is for this node and was made so on purpose, or for a service. */
static __noinline int unread(struct __sk_buff *skb, int reading, const struct packet *packet)
{
	struct pl_service service;
	bool ours = reading == MALFORMED ? find_service(&packet->tuple.to, &packet->tuple.from, packet->tuple.proto, &service) ||
						   bpf_map_lookup_elem(&pl_flow_1, &packet->tuple) :
					   ends_here(skb, &packet->tuple);

	if (!ours)
		return TC_ACT_UNSPEC;
	pl_drop(reading == FIRST_UNKNOWN ? PL_DROP_NO_FIRST_FRAGMENT : PL_DROP_MALFORMED);
	return TC_ACT_SHOT;
}

SEC("tc") int ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	int reading, verdict;

	if (skb->vlan_present || skb->pkt_type == OTHER_HOST)
		return TC_ACT_UNSPEC; /* for another device or another machine */
	reading = read_packet(skb, PL_COMES_IN, &packet);
	if (reading == NOT_FOR_US)
		return TC_ACT_UNSPEC;
	if (reading != READ)
		return unread(skb, reading, &packet);
	verdict = known(skb, &packet);
	return verdict == A_STRANGER ? stranger(skb, &packet) : verdict;
}

/*
 * Whether the backend must see this node as its client: one on another node would answer the client itself. So would one
 * of the same link as the client, wherever that is: the packet leaves by the device that it came by.
 */
static __always_inline bool needs_source(const struct __sk_buff *skb, const struct pl_flow *flow)
{
	return !(flow->flags & (PL_BACKEND_HERE | PL_CLIENT_KEPT)) || skb->ingress_ifindex == skb->ifindex;
}

/* Its source is known to all that belongs to the flow; its port last, for that says that there is one. */
static __always_inline void give_source(struct pl_flow *entry, const struct pl_end *source)
{
	entry->source.addr = source->addr;
	barrier();
	entry->source.port = source->port;
}

static __noinline bool obtain_source(struct __sk_buff *skb, struct pl_flow *flow, __u8 proto)
{
	struct pl_tuple key;
	struct pl_flow *entry;

	if (!take_source(skb, flow, proto))
		return false;
	mark_of(proto, &flow->backend, &flow->source, &key);
	bpf_map_update_elem(&pl_flow_1, &key, flow, BPF_ANY);
	key_of(PL_COMES_IN, proto, &flow->client, &flow->front, &key);
	entry = bpf_map_lookup_elem(&pl_flow_1, &key);
	if (entry && same_end(&entry->backend, &flow->backend))
		give_source(entry, &flow->source);
	entry = flow_between(proto, &flow->client, &flow->backend);
	if (entry)
		give_source(entry, &flow->source);
	return true;
}

/* Whether what points to the flow from one of its ends is there, made again where it is not. */
static __noinline bool is_pointed_to(__u8 proto, const struct pl_end *from, const struct pl_end *to, const struct pl_flow *flow)
{
	struct pl_tuple key;
	const struct pl_flow *entry;

	key_of(PL_COMES_IN, proto, from, to, &key);
	entry = bpf_map_lookup_elem(&pl_flow_1, &key);
	if (!entry)
		return !bpf_map_update_elem(&pl_flow_1, &key, flow, BPF_NOEXIST);
	return same_end(&entry->client, &flow->client) && same_end(&entry->backend, &flow->backend);
}

static __always_inline int to_backend(struct __sk_buff *skb, const struct packet *packet, struct pl_flow *flow)
{
	__u8 proto = packet->tuple.proto;

	if (!flow->source.port) {
		if (packet->quoted || !needs_source(skb, flow))
			return TC_ACT_UNSPEC;
		if (!obtain_source(skb, flow, proto))
			return TC_ACT_SHOT;
	} else if (!packet->quoted && !is_pointed_to(proto, &flow->backend, &flow->source, flow)) {
		if (!obtain_source(skb, flow, proto))
			return TC_ACT_SHOT;
	}
	return leave(skb, packet, &flow->source);
}

VERIFIED_ALONE int to_client(struct __sk_buff *skb, const struct packet *packet, const struct pl_flow *flow)
{
	struct pl_flow *heart;
	__u8 proto;

	if (!packet || !flow)
		return TC_ACT_SHOT;
	proto = packet->tuple.proto;
	if (!packet->quoted) {
		heart = flow_between(proto, &flow->client, &flow->backend);
		if (heart)
			watch(heart, packet, true);
		is_pointed_to(proto, &flow->client, &flow->front, flow);
		pl_count(flow->id, 0, 1, skb->len - ETHERNET_LENGTH);
	}
	return leave(skb, packet, &flow->front);
}

SEC("tc") int egress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct pl_tuple key;
	struct pl_flow flow = {};

	if (skb->vlan_present || read_packet(skb, PL_GOES_OUT, &packet) != READ)
		return TC_ACT_UNSPEC;
	key_of(PL_IN_BETWEEN, packet.tuple.proto, &packet.tuple.from, &packet.tuple.to, &key);
	if (!flow_at(&key, &flow))
		return TC_ACT_UNSPEC;
	return same_end(&packet.tuple.from, &flow.client) ? to_backend(skb, &packet, &flow) : to_client(skb, &packet, &flow);
}

char LICENSE[] SEC("license") = "GPL";
