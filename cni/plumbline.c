/* The CNI plugin `plumbline`: carries what the container runtime says to the daemon on this node, and the daemon's answer back.
 *
 * It reads no JSON and no name: standard input and the CNI_* variables go over a Unix socket as they are, and what comes back is
 * printed as it is. Whoever runs it decides both, and nothing here depends on what stands in them but their length, and the first
 * letters of CNI_COMMAND. Without a daemon it answers VERSION and DEL itself (CNI 1.1.0, "Section 2: Execution Protocol").
 *
 * Both ways messages of one type, 'E' environment, 'I' input; 'W' milliseconds that the daemon may take, 'O' output, 'X' output of
 * a failure: one byte of type, four of length (big endian), then as many bytes.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Told to people who run it by hand; and `plumbline install-cni` knows a file of ours by it, so every version says just this. */
#define MARK "plumbline.dev/cni-plugin: for container runtimes to run"

#define SOCKET "/run/plumbline/cni.sock"
#define MAX_ENVIRONMENT (64 << 10)
#define MAX_INPUT (1 << 20)
#define MAX_OUTPUT (4 << 20)
#define AT_ONCE 5000     /* milliseconds for an answer that needs no waiting */
#define NO_DAEMON 10000  /* milliseconds for a daemon to be there: it may be starting, or be replaced by its next version */
#define SPARE 2000       /* milliseconds above what the daemon says it may take */
#define LONGEST 120000   /* milliseconds for everything; kubelets give up at four minutes */
#define PAUSE 50         /* milliseconds between two tries to reach the daemon */

enum { INVALID_ENVIRONMENT = 4, IO_FAILURE = 5, UNDECODABLE = 6, TRY_AGAIN = 11, NOT_AVAILABLE = 50 }; /* CNI 1.1.0, "Error" */

enum result { FAILED = -1, DONE, BROKEN, LATE };

static const char *const variables[] = {
    "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH", "CNI_NETNS_OVERRIDE",
};

static char environment[MAX_ENVIRONMENT];
static char input[MAX_INPUT + 1];
static char output[MAX_OUTPUT];

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static int print(const char *text, size_t length) {
	while (length) {
		ssize_t n = write(STDOUT_FILENO, text, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 1;
		text += n;
		length -= n;
	}
	return 0;
}

static void say(const char *text) { print(text, strlen(text)); }

/* A CNI error; only texts of this file are ever put into it, so that it is always JSON. */
static int fail(int code, const char *message, const char *details) {
	char digits[] = {'0' + code / 10, '0' + code % 10, 0};
	say("{\"cniVersion\": \"1.0.0\", \"code\": ");
	say(code < 10 ? digits + 1 : digits);
	say(", \"msg\": \"");
	say(message);
	say("\", \"details\": \"");
	say(details);
	say("\"}\n");
	return 1;
}

/* 0 when the descriptor is ready before `until`. */
static int wait_for(int fd, short events, long long until) {
	for (;;) {
		long long left = until - now();
		struct pollfd one = {fd, events, 0};
		int n = left > 0 ? poll(&one, 1, left) : 0;
		if (n > 0)
			return 0;
		if (n == 0 || errno != EINTR)
			return -1;
	}
}

static enum result send_all(int fd, const void *from, size_t length, long long until) {
	const char *at = from;
	while (length) {
		if (wait_for(fd, POLLOUT, until))
			return LATE;
		ssize_t n = send(fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return BROKEN;
		at += n;
		length -= n;
	}
	return DONE;
}

static enum result receive_all(int fd, void *to, size_t length, long long until) {
	char *at = to;
	while (length) {
		if (wait_for(fd, POLLIN, until))
			return LATE;
		ssize_t n = recv(fd, at, length, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return BROKEN;
		at += n;
		length -= n;
	}
	return DONE;
}

static enum result send_message(int fd, char type, const char *body, size_t length, long long until) {
	unsigned char head[5] = {type, length >> 24, length >> 16, length >> 8, length};
	enum result sent = send_all(fd, head, sizeof head, until);
	return sent == DONE ? send_all(fd, body, length, until) : sent;
}

/* The next message's type, its body in `output`; 0 where none comes, and `why`. */
static char receive_message(int fd, size_t *length, long long until, enum result *why) {
	unsigned char head[5];
	*why = receive_all(fd, head, sizeof head, until);
	if (*why != DONE)
		return 0;
	*length = (size_t)head[1] << 24 | head[2] << 16 | head[3] << 8 | head[4];
	*why = *length > sizeof output ? BROKEN : receive_all(fd, output, *length, until);
	return *why == DONE ? head[0] : 0;
}

static int connected(const char *path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address)) {
		int error = errno; /* EAGAIN: too many wait before us */
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* One conversation. DONE: the answer was printed, and `status` is what to exit with. */
static enum result ask(int fd, size_t variables_length, size_t input_length, long long began, long long *until, int *status) {
	enum result why = send_message(fd, 'E', environment, variables_length, *until);
	if (why == DONE)
		why = send_message(fd, 'I', input, input_length, *until);
	while (why == DONE) {
		size_t length;
		char type = receive_message(fd, &length, *until, &why);
		if (type == 'W' && length == 4) {
			unsigned int takes;
			memcpy(&takes, output, 4);
			long long longer = now() + ntohl(takes) + SPARE;
			*until = longer < began + LONGEST ? longer : began + LONGEST;
		} else if (type == 'O' || type == 'X') {
			*status = print(output, length) || type == 'X';
			return DONE;
		} else if (type) {
			return BROKEN;
		}
	}
	return why;
}

/* The variables that CNI defines, each NAME=VALUE and a zero; -1 where they are too long. */
static long read_environment(void) {
	size_t length = 0;
	for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
		const char *value = getenv(variables[i]);
		if (!value)
			continue;
		size_t name = strlen(variables[i]), size = strlen(value);
		if (size > sizeof environment || length + name + size + 2 > sizeof environment)
			return -1;
		memcpy(environment + length, variables[i], name);
		environment[length + name] = '=';
		memcpy(environment + length + name + 1, value, size + 1);
		length += name + size + 2;
	}
	return length;
}

static long read_input(void) {
	size_t length = 0;
	while (length < sizeof input) {
		ssize_t n = read(STDIN_FILENO, input + length, sizeof input - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		length += n;
	}
	return length;
}

static int unreachable(enum result why, int error, int code) {
	if (why == LATE)
		return fail(code, "the plumbline daemon on this node does not answer",
		            "it is busy or hangs; look at `plumbline status` and the daemon's log on this node; it is tried again");
	if (error == EACCES || error == EPERM)
		return fail(code, "the plumbline daemon's socket may not be used", "only root may; run this plugin as root");
	return fail(code, "no plumbline daemon answers on this node",
	            "its socket is /run/plumbline/cni.sock; start the daemon (kubectl -n plumbline-system get pods -o wide), with `cni: {chained: "
	            "true}` in network.yaml and the host's /run/plumbline mounted; it is tried again");
}

static int forward(const char *command, size_t variables_length, size_t input_length) {
	const char *path = getenv("PLUMBLINE_CNI_SOCKET");
	int status_asked = !strcmp(command, "STATUS"); /* and a daemon that is replaced is no reason to call the node not ready */
	int waits = !strcmp(command, "ADD") || !strcmp(command, "CHECK"), patient = waits || status_asked;
	int code = status_asked ? NOT_AVAILABLE : TRY_AGAIN;
	long long began = now(), until = began + (waits ? NO_DAEMON : AT_ONCE);
	for (;;) {
		enum result why = BROKEN;
		int status = 1, error = 0, fd = connected(path && *path ? path : SOCKET);
		if (fd >= 0) {
			why = ask(fd, variables_length, input_length, began, &until, &status);
			close(fd);
			if (why == DONE)
				return status;
		} else {
			error = errno;
		}
		if (!patient || why == LATE || error == EACCES || error == EPERM || now() + PAUSE >= until)
			return unreachable(why, error, code);
		poll(0, 0, PAUSE);
	}
}

/* What a DEL prints is of no use, and it must not fail: what it undoes may have gone with the daemon. */
static int delete(void) {
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	long variables_length = read_environment(), input_length = read_input();
	if (nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0 && variables_length >= 0 && input_length >= 0 && input_length <= MAX_INPUT)
		forward("DEL", variables_length, input_length);
	return 0;
}

int main(void) {
	const char *command = getenv("CNI_COMMAND");
	signal(SIGPIPE, SIG_IGN);
	if (!command)
		return fail(INVALID_ENVIRONMENT, "CNI_COMMAND is not set", MARK);
	if (!strcmp(command, "VERSION")) {
		say("{\"cniVersion\": \"1.1.0\", \"supportedVersions\": [\"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\"]}\n");
		return 0;
	}
	if (!strcmp(command, "DEL"))
		return delete();
	if (strcmp(command, "ADD") && strcmp(command, "CHECK") && strcmp(command, "GC") && strcmp(command, "STATUS"))
		return fail(INVALID_ENVIRONMENT, "CNI_COMMAND is none that this plugin knows", "it knows ADD, DEL, CHECK, GC, STATUS and VERSION");
	long variables_length = read_environment();
	if (variables_length < 0)
		return fail(INVALID_ENVIRONMENT, "the CNI_ variables are longer than 64 KiB", "CNI_ARGS comes from whoever made the pod");
	long input_length = read_input();
	if (input_length < 0)
		return fail(IO_FAILURE, "standard input cannot be read", "the network's configuration belongs there");
	if (input_length > MAX_INPUT)
		return fail(UNDECODABLE, "standard input is longer than 1 MiB", "look at the results of the plugins before this one");
	return forward(command, variables_length, input_length);
}
