# skyferry. `make demo` and `make test` are the two commands a newcomer needs; both
# install the missing Debian packages first (scripts/deps) and say which.
VERSION  := 0.1.0
FLAVOUR  ?= gcc
B        := build/$(FLAVOUR)
PREFIX   ?= /usr/local
DESTDIR  ?=

CC_gcc   := gcc
CXX_gcc  := g++
CC_clang := clang
CXX_clang:= clang++
CC_asan  := gcc
CXX_asan := g++
CC_tsan  := gcc
CXX_tsan := g++
SAN_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SAN_tsan := -fsanitize=thread
CC_used  := $(CC_$(FLAVOUR))
CXX_used := $(CXX_$(FLAVOUR))

PKGS     := libssh2 libzstd libarchive cfitsio libopenjp2 libjxl sqlite3 libcrypto jansson inih
WARN     := -Wall -Wextra -Wshadow -Wpointer-arith -Wvla -Werror
CWARN    := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
CPPFLAGS := -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DSKYFERRY_VERSION='"$(VERSION)"'
OPT      := -O2 -g -pthread $(SAN_$(FLAVOUR))
CFLAGS   := -std=c11 $(CWARN) $(OPT)
CXXFLAGS := -std=c++17 $(WARN) $(OPT)
# Debian's openjph.pc is empty, so that library is named here.
# Asked once, and not before something is compiled: `make deps` may yet install pkg-config.
LIBS      = $(eval LIBS := $(shell pkg-config --libs $(PKGS)) -lopenjph -lm)$(LIBS)
INCS      = $(eval INCS := $(shell pkg-config --cflags $(PKGS) | sed 's/-I/-isystem /g'))$(INCS)
V        ?= 0
say_0     = @printf '  %-5s %s\n' $(1) $@;
say_1     =
say       = $(say_$(V))

COMMON   := $(patsubst %,$(B)/%.o,$(wildcard common/*.c common/*.cpp))
PUSH     := $(patsubst %,$(B)/%.o,$(wildcard push/*.c))
PULL     := $(patsubst %,$(B)/%.o,$(wildcard pull/*.c))
JOBS     := $(patsubst %,$(B)/%.o,$(wildcard jobs/*.c))
SIMCAM   := $(patsubst %,$(B)/%.o,$(wildcard tests/simcam/*.c))
BENCH    := $(patsubst %,$(B)/%.o,$(wildcard tests/bench/*.c))
UNITS    := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c))
PROGRAMS := $(B)/skyferry-push $(B)/skyferry-pull $(B)/skyferry-measure $(B)/simcam $(B)/wan-relay

all: $(PROGRAMS) man                      ## build the programs and manual pages
programs: $(PROGRAMS)
units: $(UNITS)

$(B)/libcommon.a: $(COMMON)
	@rm -f $@
	$(call say,AR)ar rcs $@ $^
$(B)/skyferry-push: $(PUSH) $(B)/libcommon.a
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS)
$(B)/skyferry-pull: $(PULL) $(B)/libcommon.a
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS)
$(B)/skyferry-measure: $(JOBS) $(B)/libcommon.a
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS)
$(B)/simcam: $(SIMCAM)
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS)
$(B)/wan-relay: $(B)/tests/wan/relay.c.o
	$(call say,LINK)$(CC_used) $(OPT) -o $@ $^
$(B)/scale-season: $(B)/tests/scale/season.c.o $(filter-out %/main.c.o,$(PULL)) $(B)/libcommon.a
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS)
$(B)/codec-bench: $(BENCH) $(B)/libcommon.a
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS)

# A unit program is one tests/unit/test_*.c linked with common; test_push_* also with
# push, test_pull_* with pull, test_jobs_* with jobs (all but their main).
$(B)/unit/test_push_%: $(B)/tests/unit/test_push_%.c.o $(filter-out %/main.c.o,$(PUSH)) $(B)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS) -lcmocka
$(B)/unit/test_pull_%: $(B)/tests/unit/test_pull_%.c.o $(filter-out %/main.c.o,$(PULL)) $(B)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS) -lcmocka
$(B)/unit/test_pull_lease: private OPT += -Wl,--wrap=clock_wall,--wrap=fs_write_file
$(B)/unit/test_jobs_%: $(B)/tests/unit/test_jobs_%.c.o $(filter-out %/main.c.o,$(JOBS)) $(B)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS) -lcmocka
$(B)/unit/test_%: $(B)/tests/unit/test_%.c.o $(B)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CXX_used) $(OPT) -o $@ $^ $(LIBS) $(JUDGE) -lcmocka
# What only a test needs, to compare with.
$(B)/unit/test_fits_tpv: JUDGE := -lwcs

# Tests name the first members of an options struct; the others are zero.
$(B)/tests/%: CFLAGS += -Wno-missing-field-initializers
$(B)/%.c.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC_used) $(CPPFLAGS) $(INCS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX_used) $(CPPFLAGS) $(INCS) $(CXXFLAGS) -MMD -MP -c -o $@ $<
-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:


# ---- manual pages: prose from man/, options and settings from the programs' own rows ----
MAN      := $(patsubst man/%.in,$(B)/man/%,$(wildcard man/*.in)) \
            $(patsubst man/%,$(B)/man/%,$(wildcard man/*.[158]))
man: $(MAN)
$(B)/man/%: man/%.in $(PROGRAMS)
	@mkdir -p $(@D)
	scripts/make-man $< $(B) > $@.tmp && mv $@.tmp $@
$(B)/man/%: man/%
	@mkdir -p $(@D)
	cp $< $@

# ---- the newcomer's commands ----
FLAVOURS ?= gcc
deps:                                     ## install the missing Debian packages
	@scripts/deps
demo: deps                                ## a short simulated night, end to end, on this machine
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@scripts/demo
test: deps                                ## all unit and end-to-end tests
	@set -e; for f in $(FLAVOURS); do \
	    $(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=$$f all units; done
	@scripts/run-tests $(FLAVOURS)
asan:                                     ## the same under ASan and UBSan
	@$(MAKE) --no-print-directory test FLAVOURS=asan
lint: deps                                ## cppcheck and clang-tidy, when installed
	@scripts/lint
bench: deps                               ## a full-size exposure end to end, timed
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/bench/exposure
bench-codec:                              ## codecs side by side: bytes, error, MB/s
	@scripts/deps bench
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs build/gcc/codec-bench
	@tests/bench/codec
bench-science:                            ## what lossy codecs do to sources (slow)
	@scripts/deps bench
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs build/gcc/codec-bench
	@tests/bench/science
bench-speed:                              ## an exposure against the public tools and the floor
	@scripts/deps bench
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs build/gcc/codec-bench
	@tests/bench/speed
bench-wan:                                ## against the public file movers on long lines (root, slow)
	@scripts/deps bench
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/wan/bench
bench-scale:                              ## a catalogue of 100,000 exposures (2 minutes, 3 GB of disk)
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs build/gcc/scale-season
	@tests/scale/bench
slurm-outage:                             ## ten minutes without slurmctld (root, 12 minutes)
	@scripts/deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/slurm/outage
wan-limit:                                ## rate_mbit on a long line in a box (root, 3 minutes)
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/wan/limit
wan-overload:                             ## ten minutes of too much for the line: newest first? (root, slow)
	@scripts/deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/wan/overload
wan-cuts: deps                            ## a long line cut again and again (root, slow)
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/wan/cuts
wan-long-cut: deps                        ## a long line cut for minutes or an hour (root, slow)
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/wan/long-cut
bench-latency:                            ## close of a file to its FITS files, over a long line (root)
	@scripts/deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) FLAVOUR=gcc programs
	@tests/wan/latency
fresh-check:                              ## demo and test in a minimal Debian 12 (root, slow)
	@scripts/fresh-check
etc: programs                             ## write etc/*.conf anew from the settings rows
	$(B)/skyferry-push --dump-config > etc/push.conf
	$(B)/skyferry-pull --dump-config > etc/pull.conf
install: all                              ## into $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/skyferry/cameras \
	    $(DESTDIR)$(PREFIX)/share/skyferry/jobs \
	    $(DESTDIR)$(PREFIX)/share/doc/skyferry/examples \
	    $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5
	install $(B)/skyferry-push $(B)/skyferry-pull $(B)/skyferry-measure $(DESTDIR)$(PREFIX)/bin
	install -m 644 etc/cameras/*.conf $(DESTDIR)$(PREFIX)/share/skyferry/cameras
	install -m 644 etc/jobs/*.sbatch etc/jobs/*.qsub $(DESTDIR)$(PREFIX)/share/skyferry/jobs
	install -m 644 etc/*.conf $(DESTDIR)$(PREFIX)/share/doc/skyferry/examples
	install -m 644 $(B)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(B)/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
clean:                                    ## remove build/
	rm -rf build
help:                                     ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1@\2/p' Makefile | \
	    awk -F@ '{printf "%-20s %s\n", $$1, $$2}'

.PHONY: all programs units man deps demo test asan lint bench bench-codec bench-science bench-speed bench-wan bench-scale bench-latency slurm-outage wan-cuts wan-long-cut wan-limit wan-overload fresh-check etc install clean help
