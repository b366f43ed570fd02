// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of a test guest. Runs the script named by imq_setup=, which prepares
 * the file systems and becomes the command; reaps what is left behind; writes
 * "exit N" or "signal N" to $imq_dir/status, the only place where the host
 * looks for the verdict; and powers off (or reboots, where the machine can't).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

static void report(const char *dir, const char *text)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/status", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fsync(fd) < 0)
		fprintf(stderr, "init: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

int main(void)
{
	const char *setup = getenv("imq_setup"), *dir = getenv("imq_dir");
	const char *fs = getenv("imq_fs");
	char text[32] = "signal 0\n";
	int status = 0;
	pid_t child;

	if (!setup || !dir) {
		fprintf(stderr, "init: imq_setup= and imq_dir= are needed\n");
		goto out;
	}

	child = fork();
	if (child < 0) {
		perror("init: fork");
		goto out;
	}
	if (child == 0) {
		setsid();
		execl("/bin/sh", "sh", setup, (char *)NULL);
		_exit(127);
	}
	for (;;) {
		pid_t pid = wait(&status);

		if (pid == child || (pid < 0 && errno != EINTR))
			break;
	}
	if (WIFEXITED(status))
		snprintf(text, sizeof(text), "exit %d\n", WEXITSTATUS(status));
	else
		snprintf(text, sizeof(text), "signal %d\n", WTERMSIG(status));

	kill(-1, SIGKILL);
	while (wait(NULL) > 0)
		;
	report(dir, text);
out:
	sync();
	reboot(fs && !strcmp(fs, "9p") ? RB_AUTOBOOT : RB_POWER_OFF);
	return 1;
}
