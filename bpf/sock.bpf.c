/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Services at the socket: a connect or a datagram to a service goes to one of its backends from the start, so that no
 * packet ever needs translating. Only what the socket's owner reads back is named as it was asked for.
 *
 * Which hooks run (net/ipv4/udp.c, net/ipv6/udp.c): a socket of IPv6 that speaks IPv4 (::ffff:a.b.c.d) connects, receives
 * and names its peer by the hooks of IPv6, and sends by sendmsg4. Both families therefore share every map.
 *
 * A UDP socket stays with its backend: a conversation of many datagrams (QUIC, DTLS) is one conversation, though nothing
 * of it is connected. Replies carry the service's address, for libraries drop those of strangers; so what is asked of a
 * service without a way to name the reply is refused. A socket that speaks with one backend both directly and by way of
 * a service, unconnected, sees the name that it used last with a service.
 *
 * What the kernel tells besides is left as it is: IPV6_RECVERR's offender is the backend, scope ids and flow labels are
 * the caller's own.
 */
#include "services.h"

#define ECONNREFUSED 111
#define ENOBUFS 105

enum verdict {
	REFUSED = 0, /* with the error that was set */
	GOES_ON = 1, /* as it is */
	TO_BACKEND = 2,
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pl_peer);
	__type(value, struct pl_named);
} pl_sockrev_1 SEC(".maps"), pl_sockpeer_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pl_peer);
	__type(value, struct pl_chosen);
} pl_sockfwd_1 SEC(".maps");

static __always_inline struct pl_named named4(struct bpf_sock_addr *ctx)
{
	struct pl_named named = { .port = ctx->user_port };

	pl_set_ipv4(&named.addr, ctx->user_ip4);
	return named;
}

static __always_inline struct pl_named named6(struct bpf_sock_addr *ctx)
{
	struct pl_named named = { .port = ctx->user_port };
	__u32 words[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };

	__builtin_memcpy(named.addr.bytes, words, sizeof(words));
	return named;
}

static __always_inline void rename4(struct bpf_sock_addr *ctx, const struct pl_addr *addr, __be16 port)
{
	ctx->user_ip4 = pl_ipv4(addr);
	ctx->user_port = port;
}

static __always_inline void rename6(struct bpf_sock_addr *ctx, const struct pl_addr *addr, __be16 port)
{
	struct pl_words words = pl_words(addr);

	ctx->user_ip6[0] = words.word[0];
	ctx->user_ip6[1] = words.word[1];
	ctx->user_ip6[2] = words.word[2];
	ctx->user_ip6[3] = words.word[3];
	ctx->user_port = port;
}

static __always_inline struct pl_peer peer_of(__u64 socket, const struct pl_addr *addr, __be16 port)
{
	struct pl_peer peer = { .socket = socket, .addr = *addr, .port = port };

	return peer;
}

/* Where to look for what a socket asks for. */
static __always_inline struct pl_front front_of(struct bpf_sock_addr *ctx, const struct pl_named *named)
{
	struct pl_front front = { .addr = named->addr, .port = named->port, .proto = ctx->protocol, .scope = PL_INSIDE };

	if (pl_is_loopback(&named->addr)) {
		__u64 namespace = bpf_get_netns_cookie(ctx);

		__builtin_memcpy(front.addr.bytes, &namespace, sizeof(namespace));
		front.scope = PL_LOOPBACK;
	}
	return front;
}

/* A backend for what is new. False: none, and none of the other family, which the socket could not speak with. */
static __always_inline bool choose(struct bpf_sock_addr *ctx, const struct pl_service *service, const struct pl_named *named,
				   __u32 number, struct pl_chosen *chosen)
{
	struct pl_client client = { .scope = PL_INSIDE };
	__u64 namespace = bpf_get_netns_cookie(ctx);

	__builtin_memcpy(client.who.bytes, &namespace, sizeof(namespace));
	if (pl_choose(service, number, &client, chosen) && pl_is_ipv4(&chosen->backend.addr) == pl_is_ipv4(&named->addr)) {
		pl_count(service->id, 1, 0, 0);
		return true;
	}
	pl_drop(PL_DROP_NO_BACKEND);
	return false;
}

static __always_inline enum verdict refused(int error)
{
	bpf_set_retval(-error); /* else the caller would be told EPERM */
	return REFUSED;
}

static __always_inline enum verdict refused_full(void)
{
	pl_drop(PL_DROP_MAP_FULL);
	return refused(ENOBUFS);
}

/* A number for each socket, spread evenly: the finaliser of MurmurHash3. */
static __always_inline __u32 number_of(__u64 socket)
{
	socket ^= socket >> 33;
	socket *= 0xff51afd7ed558ccdULL;
	socket ^= socket >> 33;
	socket *= 0xc4ceb9fe1a85ec53ULL;
	return socket >> 32;
}

/*
 * UDP, a connect or a datagram: the socket's first words to a service choose the backend of all that follow, whichever
 * way they are sent. It is drawn from the socket itself and not at random: when the entry is evicted while the list is
 * unchanged, the same one is chosen again.
 */
static __always_inline enum verdict converses(struct bpf_sock_addr *ctx, const struct pl_named *named, struct pl_chosen *chosen)
{
	struct pl_front front = front_of(ctx, named);
	__u64 socket = bpf_get_socket_cookie(ctx);
	struct pl_peer peer = peer_of(socket, &named->addr, named->port);
	const struct pl_chosen *stays;
	const struct pl_named *known;
	struct pl_service service;
	__u32 slot;

	if (!pl_find(&front, &service))
		return GOES_ON;
	stays = bpf_map_lookup_elem(&pl_sockfwd_1, &peer);
	if (stays)
		*chosen = *stays;
	slot = chosen->slot;
	if (!stays || !pl_still(&service, chosen)) {
		if (!choose(ctx, &service, named, number_of(socket), chosen))
			return refused(ECONNREFUSED);
		stays = 0;
	}
	if ((!stays || chosen->slot != slot) && bpf_map_update_elem(&pl_sockfwd_1, &peer, chosen, BPF_ANY))
		return refused_full();
	peer = peer_of(socket, &chosen->backend.addr, chosen->backend.port);
	known = bpf_map_lookup_elem(&pl_sockrev_1, &peer);
	if (known && known->port == named->port && pl_same_addr(&known->addr, &named->addr))
		return TO_BACKEND;
	if (bpf_map_update_elem(&pl_sockrev_1, &peer, named, BPF_ANY))
		return refused_full();
	return TO_BACKEND;
}

/* TCP. It goes to its backend even if its peer's name cannot be kept: getpeername is all that needs it. */
static __always_inline enum verdict connects(struct bpf_sock_addr *ctx, const struct pl_named *named, struct pl_chosen *chosen)
{
	struct pl_front front = front_of(ctx, named);
	struct pl_service service;
	struct pl_peer peer;

	if (!pl_find(&front, &service))
		return GOES_ON;
	if (!choose(ctx, &service, named, bpf_get_prandom_u32(), chosen))
		return refused(ECONNREFUSED);
	peer = peer_of(bpf_get_socket_cookie(ctx), &chosen->backend.addr, chosen->backend.port);
	bpf_map_update_elem(&pl_sockpeer_1, &peer, named, BPF_ANY);
	return TO_BACKEND;
}

/*
 * A socket says whom it wants to speak with. When it connects to what is no service, that is its peer's name from then
 * on, although it may have named the same one by a service until now.
 */
static __always_inline enum verdict asks(struct bpf_sock_addr *ctx, const struct pl_named *named, struct pl_chosen *chosen,
					 bool connecting)
{
	struct pl_peer peer = peer_of(bpf_get_socket_cookie(ctx), &named->addr, named->port);
	enum verdict verdict = GOES_ON;

	if (ctx->protocol == IPPROTO_UDP) {
		verdict = converses(ctx, named, chosen);
		if (verdict == GOES_ON && connecting)
			bpf_map_delete_elem(&pl_sockrev_1, &peer);
	} else if (ctx->protocol == IPPROTO_TCP && connecting) {
		verdict = connects(ctx, named, chosen);
		if (verdict == GOES_ON)
			bpf_map_delete_elem(&pl_sockpeer_1, &peer);
	}
	return verdict;
}

/* The name of whom a datagram came from, or of a peer. False: it has no other one than its own. */
static __always_inline bool named_as(struct bpf_sock_addr *ctx, struct pl_named *named)
{
	struct pl_peer peer = peer_of(bpf_get_socket_cookie(ctx), &named->addr, named->port);
	const struct pl_named *known = 0;

	if (ctx->protocol == IPPROTO_UDP)
		known = bpf_map_lookup_elem(&pl_sockrev_1, &peer);
	else if (ctx->protocol == IPPROTO_TCP)
		known = bpf_map_lookup_elem(&pl_sockpeer_1, &peer);
	if (!known)
		return false;
	*named = *known;
	return true;
}

#define TOWARDS(hook, family, connecting)                                                                              \
	SEC("cgroup/" #hook) int hook(struct bpf_sock_addr *ctx)                                                       \
	{                                                                                                              \
		struct pl_named named = named##family(ctx);                                                            \
		struct pl_chosen chosen = {};                                                                          \
		enum verdict verdict = asks(ctx, &named, &chosen, connecting);                                         \
                                                                                                                       \
		if (verdict == TO_BACKEND)                                                                             \
			rename##family(ctx, &chosen.backend.addr, chosen.backend.port);                                \
		return verdict == REFUSED ? REFUSED : GOES_ON;                                                         \
	}

/* It can refuse nothing: the kernel allows these hooks one answer only. */
#define BACK(hook, family)                                                                                             \
	SEC("cgroup/" #hook) int hook(struct bpf_sock_addr *ctx)                                                       \
	{                                                                                                              \
		struct pl_named named = named##family(ctx);                                                            \
                                                                                                                       \
		if (named_as(ctx, &named))                                                                             \
			rename##family(ctx, &named.addr, named.port);                                                  \
		return GOES_ON;                                                                                        \
	}

TOWARDS(connect4, 4, true)
TOWARDS(connect6, 6, true)
TOWARDS(sendmsg4, 4, false)
TOWARDS(sendmsg6, 6, false)
BACK(recvmsg4, 4)
BACK(recvmsg6, 6)
BACK(getpeername4, 4)
BACK(getpeername6, 6)

char LICENSE[] SEC("license") = "GPL";
