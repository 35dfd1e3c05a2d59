# A merge in N parts:
#
#     make -j 4 -f parts.mk CONFIG=config.yml OUT=merged N=8
#
# A part that is finished says so at once when it is run again, so make has nothing to remember but
# whether OUT is there.

CONFIG  ?= config.yml
OUT     ?= merged
N       ?= 8
OPTIONS ?= --threads=1

PARTS := $(addprefix part-,$(shell seq $(N)))

ifeq ($(wildcard $(OUT)),)
finish: $(PARTS)
	tv finish $(OUT)
else
finish:
	@echo "$(OUT) is there already"
endif

$(PARTS): part-%:
	tv merge $(OPTIONS) --part $*/$(N) $(CONFIG) $(OUT)

.PHONY: finish $(PARTS)
