# The system's packages; scripts/install-deps.sh installs them on Debian and Ubuntu. What a static libfntk asks its
# users to link is named once more in fntkConfig.cmake.in.
if(NOT PROJECT_IS_TOP_LEVEL)
    set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)  # a project around this one links them through a static libfntk
endif()

# A folder of scripts/bundle.sh: given by name it goes before the system, and bundle/ is where to look for what
# that lacks.
set(FNTK_BUNDLE "" CACHE PATH "A folder of scripts/bundle.sh whose libraries go before the system's")
set(FNTK_BUNDLE_FOLDER "${FNTK_BUNDLE}")
if(NOT FNTK_BUNDLE AND EXISTS ${PROJECT_SOURCE_DIR}/bundle/prefix/usr)
    set(FNTK_BUNDLE_FOLDER ${PROJECT_SOURCE_DIR}/bundle)
endif()
if(FNTK_BUNDLE_FOLDER)
    set(bundle_prefix ${FNTK_BUNDLE_FOLDER}/prefix/usr)
    file(GLOB bundle_libraries ${bundle_prefix}/lib/*-linux-gnu)
    if(NOT bundle_libraries)
        message(FATAL_ERROR "fntk: FNTK_BUNDLE is '${FNTK_BUNDLE_FOLDER}', which holds no prefix/usr/lib; "
            "make it with scripts/bundle.sh")
    endif()
    if(NOT CMAKE_LIBRARY_ARCHITECTURE)
        cmake_path(GET bundle_libraries FILENAME CMAKE_LIBRARY_ARCHITECTURE)
    endif()
    if(FNTK_BUNDLE)
        list(PREPEND CMAKE_PREFIX_PATH ${bundle_prefix})
    else()
        list(APPEND CMAKE_SYSTEM_PREFIX_PATH ${bundle_prefix})
    endif()
    add_link_options(-Wl,--disable-new-dtags)  # an RPATH also finds what the bundle's libraries load
    message(STATUS "fntk: packages of ${FNTK_BUNDLE_FOLDER}")
endif()

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(hwy REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Eigen3 3.3 REQUIRED NO_MODULE)

list(PREPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
find_package(FntkBLAS REQUIRED)
list(POP_FRONT CMAKE_MODULE_PATH)
