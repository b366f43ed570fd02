// SPDX-License-Identifier: GPL-2.0
/*
 * Sends packets for guest.sh.
 *
 * Usage: send lone
 *        send burst DEV FIRST COUNT TRAIN FLOWS MARKS
 *
 * lone   starts pktgen, which has been set up, and waits until it has sent. Its
 *        own result tells how long that took: the waiting is by tenths of seconds.
 * burst  sends COUNT packets to DEV, the sending end of a veth pair, in trains of
 *        TRAIN. A train is one GSO packet of a packet socket; DEV must not be able
 *        to segment, so that the stack does before it hands the train over, with
 *        softirqs off. So the receiver finds the whole train at once. The nth
 *        train, counted from FIRST, is flow n % FLOWS (source port 1024 + flow),
 *        and has the mark n % MARKS + 1, unless MARKS is 0.
 *
 * All frames have 60 bytes: Ethernet, IPv4, UDP and 18 of data. Addresses are
 * those of guest.sh.
 *
 * The processor sees a distinct no-op before and after: plugin.c counts what is
 * between them.
 */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DATA 18
#define PORT 1024

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4	/* headers before 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

struct train {
	struct virtio_net_hdr vnet;
	struct ether_header eth;
	struct iphdr ip;
	struct udphdr udp;
	char data[64 * DATA];
} __attribute__((packed));

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void begin(void)
{
	asm volatile("nopl 0x494d5101(%%rax)" : : : "memory");
}

static void end(void)
{
	asm volatile("nopl 0x494d5102(%%rax)" : : : "memory");
}

static uint16_t ip_sum(const void *data, size_t len)
{
	const uint16_t *p = data;
	uint32_t sum = 0;

	for (; len > 1; len -= 2)
		sum += *p++;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static void lone(void)
{
	int fd = open("/proc/net/pktgen/pgctrl", O_WRONLY);

	if (fd < 0)
		err(1, "pgctrl");
	begin();
	if (write(fd, "start\n", 6) != 6)
		err(1, "pktgen");
	end();
}

static int packet_socket(const char *dev)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	int on = 1;

	if (fd < 0)
		err(1, "packet socket");
	to.sll_ifindex = if_nametoindex(dev);
	if (!to.sll_ifindex)
		err(1, "%s", dev);
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)))
		err(1, "PACKET_VNET_HDR");
	if (bind(fd, (struct sockaddr *)&to, sizeof(to)))
		err(1, "bind %s", dev);
	return fd;
}

static void train_init(struct train *t)
{
	static const uint8_t to[] = { 2, 0, 0, 0, 1, 1 }, from[] = { 2, 0, 0, 0, 1, 2 };

	memset(t, 0, sizeof(*t));
	t->vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	t->vnet.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	t->vnet.hdr_len = sizeof(t->eth) + sizeof(t->ip) + sizeof(t->udp);
	t->vnet.gso_size = DATA;
	t->vnet.csum_start = sizeof(t->eth) + sizeof(t->ip);
	t->vnet.csum_offset = offsetof(struct udphdr, check);
	memcpy(t->eth.ether_dhost, to, sizeof(to));
	memcpy(t->eth.ether_shost, from, sizeof(from));
	t->eth.ether_type = htons(ETHERTYPE_IP);
	t->ip.version = 4;
	t->ip.ihl = 5;
	t->ip.ttl = 64;
	t->ip.protocol = IPPROTO_UDP;
	t->ip.saddr = inet_addr("10.1.0.2");
	t->ip.daddr = inet_addr("10.64.0.1");
	t->udp.dest = htons(9);
}

/* The sum over addresses, protocol and length; the data's is added later. */
static uint16_t pseudo_sum(const struct train *t)
{
	struct {
		uint32_t saddr, daddr;
		uint8_t zero, protocol;
		uint16_t len;
	} __attribute__((packed)) p = {
		t->ip.saddr, t->ip.daddr, 0, IPPROTO_UDP, t->udp.len,
	};

	return ~ip_sum(&p, sizeof(p));
}

static void burst(int argc, char **argv)
{
	union {
		char buf[CMSG_SPACE(sizeof(uint32_t))];
		struct cmsghdr align;
	} control;
	unsigned int first, count, size, flows, marks, n;
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	struct train t;
	uint64_t start;
	int fd;

	if (argc != 6)
		errx(2, "burst DEV FIRST COUNT TRAIN FLOWS MARKS");
	fd = packet_socket(argv[0]);
	first = atoi(argv[1]);
	count = atoi(argv[2]);
	size = atoi(argv[3]);
	flows = atoi(argv[4]);
	marks = atoi(argv[5]);
	if (!size || size > 64 || !flows || count % size)
		errx(2, "%u packets are no trains of %u", count, size);

	train_init(&t);
	t.udp.len = htons(sizeof(t.udp) + size * DATA);
	t.ip.tot_len = htons(sizeof(t.ip) + sizeof(t.udp) + size * DATA);
	t.ip.check = ip_sum(&t.ip, sizeof(t.ip));
	t.udp.check = pseudo_sum(&t);
	iov[0] = (struct iovec){ &t.vnet, sizeof(t.vnet) };
	iov[1] = (struct iovec){ &t.eth, offsetof(struct train, data) -
				 offsetof(struct train, eth) + size * DATA };
	if (marks) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SO_MARK;
		c->cmsg_len = CMSG_LEN(sizeof(uint32_t));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.buf);
	}

	start = now();
	begin();
	for (n = first; n < first + count / size; n++) {
		t.udp.source = htons(PORT + n % flows);
		if (marks)
			*(uint32_t *)CMSG_DATA(&control.align) = n % marks + 1;
		if (sendmsg(fd, &msg, 0) < 0)
			err(1, "send");
	}
	end();
	printf("%" PRIu64 "\n", now() - start);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "lone"))
		lone();
	else if (argc > 2 && !strcmp(argv[1], "burst"))
		burst(argc - 2, argv + 2);
	else
		errx(2, "usage: send lone | burst DEV FIRST COUNT TRAIN FLOWS MARKS");
	return 0;
}
