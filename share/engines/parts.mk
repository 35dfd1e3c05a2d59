# A merge in N parts:
#
#     make -j 4 -f parts.mk CONFIG=config.yml OUT=merged N=8
#
# A finished part ends at once when it is run again, so make only checks whether OUT exists.

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
