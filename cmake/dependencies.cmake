# The system's packages; scripts/install-deps.sh installs them on Debian and Ubuntu. What a static libfntk asks its
# users to link is named once more in fntkConfig.cmake.in.
if(NOT PROJECT_IS_TOP_LEVEL)
    set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)  # a project around this one links them through a static libfntk
endif()
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(hwy REQUIRED)
find_package(nlohmann_json REQUIRED)

list(PREPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
find_package(FntkBLAS REQUIRED)
list(POP_FRONT CMAKE_MODULE_PATH)
