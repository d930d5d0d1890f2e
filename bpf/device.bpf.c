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
#include "refuse.h"

#define CLASHES 4

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

static __always_inline bool find_service(const struct pl_end *front, __u8 proto, struct pl_service *service)
{
	struct pl_front key = { .addr = front->addr, .port = front->port, .proto = proto, .scope = PL_OUTSIDE };

	return pl_find(&key, service);
}

static __always_inline void fill_flow(struct pl_flow *flow, const struct pl_tuple *tuple, const struct pl_service *service,
				      const struct pl_chosen *chosen)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->seen = bpf_ktime_get_ns();
	flow->id = service->id;
	flow->slot = chosen->slot;
	flow->client = tuple->from;
	flow->front = tuple->to;
	flow->backend.addr = chosen->backend.addr;
	flow->backend.port = chosen->backend.port;
	if (chosen->backend.flags & PL_HERE)
		flow->flags |= PL_BACKEND_HERE;
	if (service->flags & PL_KEEP_CLIENT)
		flow->flags |= PL_CLIENT_KEPT;
}

enum claim { CLAIMED, CLASH, NO_ROOM };

/*
 * Client and backend for this flow alone. A flow that is already theirs by the same front lost what pointed to it, or
 * is followed by another one of the same ends: it goes on, with the source that the backend knows.
 */
VERIFIED_ALONE int claim(struct pl_flow *flow, __u8 proto)
{
	struct pl_flow *heart;
	long error;

	if (!flow)
		return NO_ROOM;
	error = store_flow(PL_IN_BETWEEN, proto, &flow->client, &flow->backend, flow, BPF_NOEXIST);
	if (!error)
		return CLAIMED;
	heart = flow_between(proto, &flow->client, &flow->backend);
	if (!heart)
		return NO_ROOM;
	if (same_end(&heart->front, &flow->front) && same_end(&heart->client, &flow->client)) {
		flow->source = heart->source;
		heart->seen = flow->seen;
		heart->state = PL_ASKED;
		return CLAIMED;
	}
	if (!is_over(heart, proto, true))
		return CLASH;
	forget_flow(PL_IN_BETWEEN, proto, &flow->client, &flow->backend);
	error = store_flow(PL_IN_BETWEEN, proto, &flow->client, &flow->backend, flow, BPF_NOEXIST);
	return error ? NO_ROOM : CLAIMED;
}

/* Another backend where client and backend speak already, by another front: their packets could not be told apart. */
static __always_inline int claim_any(const struct pl_tuple *tuple, const struct pl_service *service, struct pl_chosen *chosen,
				struct pl_flow *flow)
{
	int claimed = CLASH;

	for (int tried = 0; tried < CLASHES; tried++) {
		fill_flow(flow, tuple, service, chosen);
		claimed = claim(flow, tuple->proto);
		if (claimed != CLASH || !pl_any(service, bpf_get_prandom_u32(), chosen))
			break;
	}
	return claimed;
}

VERIFIED_ALONE bool choose(const struct pl_addr *who, const struct pl_service *service, struct pl_chosen *chosen)
{
	struct pl_client client = { .scope = PL_OUTSIDE };

	if (!who || !service || !chosen)
		return false;
	client.who = *who;
	return pl_choose(service, bpf_get_prandom_u32(), &client, chosen);
}

/* Of two packets that begin a flow at once, on two CPUs, both belong to the one whose entry was there first. */
static __always_inline bool is_first(const struct pl_tuple *tuple, struct pl_flow *flow)
{
	return !bpf_map_update_elem(&pl_flow_1, tuple, flow, BPF_NOEXIST) || flow_at(tuple, flow);
}

/* A new flow; false: it cannot be, and why is counted. */
VERIFIED_ALONE bool open_flow(const struct pl_tuple *tuple, const struct pl_service *service, struct pl_chosen *chosen,
			      struct pl_flow *flow)
{
	int claimed;

	if (!tuple || !service || !chosen || !flow)
		return false;
	claimed = claim_any(tuple, service, chosen, flow);
	if (claimed == CLAIMED && !is_first(tuple, flow))
		claimed = NO_ROOM;
	if (claimed != CLAIMED)
		pl_drop(claimed == CLASH ? PL_DROP_NO_PORT : PL_DROP_MAP_FULL);
	return claimed == CLAIMED;
}

struct lost {
	const struct pl_tuple *tuple;
	struct pl_flow *flow;
	__u32 id;
	bool found;
};

#define BACKENDS_ASKED 64

static long ask_backend(__u32 slot, struct lost *lost)
{
	struct pl_backend backend;
	struct pl_end end = {};
	const struct pl_flow *heart;

	if (!pl_backend_at(lost->id, slot, &backend))
		return 0;
	end.addr = backend.addr;
	end.port = backend.port;
	heart = flow_between(lost->tuple->proto, &lost->tuple->from, &end);
	if (!heart)
		return 0;
	*lost->flow = *heart;
	lost->found = same_end(&lost->flow->client, &lost->tuple->from) && same_end(&lost->flow->front, &lost->tuple->to);
	return lost->found;
}

/* The flow of a packet from the midst of it, whose own entry has gone: with one of the backends it still speaks. */
VERIFIED_ALONE bool find_again(const struct pl_tuple *tuple, const struct pl_service *service, struct pl_flow *flow)
{
	struct lost lost = { .tuple = tuple, .flow = flow };

	if (!tuple || !service || !flow)
		return false;
	lost.id = service->id;
	bpf_loop(service->count < BACKENDS_ASKED ? service->count : BACKENDS_ASKED, ask_backend, &lost, 0);
	if (!lost.found)
		return false;
	store_flow(PL_COMES_IN, tuple->proto, &flow->client, &flow->front, flow, BPF_NOEXIST);
	return true;
}

static __always_inline bool begins(const struct packet *packet)
{
	return packet->tuple.proto == IPPROTO_UDP || (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
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

/* A packet that no flow knows, and room for the one that it will belong to. */
static __always_inline int stranger(struct __sk_buff *skb, struct packet *packet, struct pl_flow *flow)
{
	struct pl_service service = {};
	struct pl_chosen chosen = {};

	if (packet->quoted)
		return TC_ACT_UNSPEC; /* what it quotes may be the node's own */
	if (!find_service(&packet->tuple.to, packet->tuple.proto, &service))
		return pass_by(skb, packet);
	if (packet->piece == LATER) {
		pl_drop(PL_DROP_NO_FIRST_FRAGMENT);
		return TC_ACT_SHOT;
	}
	if (service.count == 0 || (begins(packet) && !choose(&packet->tuple.from.addr, &service, &chosen))) {
		pl_drop(PL_DROP_NO_BACKEND);
		return service.flags & PL_DROP_EMPTY ? TC_ACT_SHOT : refuse(skb, packet);
	}
	if (begins(packet)) {
		if (!open_flow(&packet->tuple, &service, &chosen, flow))
			return TC_ACT_SHOT;
		pl_count(service.id, 1, 1, skb->len - ETHERNET_LENGTH);
	} else {
		if (!find_again(&packet->tuple, &service, flow)) {
			pl_drop(PL_DROP_NO_FLOW);
			return refuse(skb, packet);
		}
		pl_count(flow->id, 0, 1, skb->len - ETHERNET_LENGTH);
	}
	return enter(skb, packet, &flow->backend);
}

/* Whether the front still leads to the backend of the flow, wherever that stands in its list now. */
VERIFIED_ALONE bool still_leads(const struct pl_flow *flow, __u8 proto)
{
	struct pl_service service;
	struct pl_chosen chosen = {};

	if (!flow)
		return false;
	chosen.slot = flow->slot;
	chosen.backend.addr = flow->backend.addr;
	chosen.backend.port = flow->backend.port;
	return find_service(&flow->front, proto, &service) && pl_still(&service, &chosen);
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

#define A_STRANGER 1000 /* no TC_ACT_ */

VERIFIED_ALONE int request(struct __sk_buff *skb, struct packet *packet, const struct pl_flow *flow)
{
	struct pl_flow *heart;

	if (!packet || !flow)
		return TC_ACT_SHOT;
	heart = heart_of(flow, packet->tuple.proto);
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

VERIFIED_ALONE int answer(struct __sk_buff *skb, struct packet *packet, const struct pl_flow *flow)
{
	if (!packet || !flow)
		return TC_ACT_SHOT;
	if (heart_of(flow, packet->tuple.proto))
		return enter(skb, packet, &flow->client);
	pl_drop(PL_DROP_NO_FLOW);
	return TC_ACT_SHOT;
}

/* What could not be read is nobody's, unless it is for this node and was made so on purpose, or for a service. */
static __noinline int unread(struct __sk_buff *skb, int reading, const struct packet *packet)
{
	struct pl_service service;
	bool ours = reading == MALFORMED ? find_service(&packet->tuple.to, packet->tuple.proto, &service) ||
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
	struct pl_flow flow = {};
	int verdict = A_STRANGER, reading;

	if (skb->vlan_present || skb->pkt_type == OTHER_HOST)
		return TC_ACT_UNSPEC; /* for another device or another machine */
	reading = read_packet(skb, PL_COMES_IN, &packet);
	if (reading == NOT_FOR_US)
		return TC_ACT_UNSPEC;
	if (reading != READ)
		return unread(skb, reading, &packet);
	if (flow_at(&packet.tuple, &flow)) {
		if (!same_end(&packet.tuple.to, &flow.front) || !same_end(&packet.tuple.from, &flow.client))
			return answer(skb, &packet, &flow);
		verdict = request(skb, &packet, &flow);
	}
	return verdict == A_STRANGER ? stranger(skb, &packet, &flow) : verdict;
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
