# fntk_warnings: warnings and sanitizers, linked privately by every target of this project.
add_library(fntk_warnings INTERFACE)
target_compile_options(fntk_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                                               -ffp-contract=off $<$<BOOL:${FNTK_WERROR}>:-Werror>)
if(FNTK_SANITIZE)
    add_compile_options(-fsanitize=${FNTK_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${FNTK_SANITIZE})
endif()
